"""Poses at the beginning of a search."""

import torch
from diff_gaussian_rasterization.constants import SCALE_START
from diff_gaussian_rasterization.types import PoseState
from jaxtyping import Bool, Float, Int
from torch import Tensor

DAMPING = 1e-3  # at the start


def start_state(
    picture: Int[Tensor, "p"], cam_from_world: Float[Tensor, "p 4 4"], alive: Bool[Tensor, "p"]
) -> PoseState:
    """Poses before their first step."""
    one = torch.ones_like(cam_from_world[:, 0, 0], dtype=torch.float64)
    return PoseState(
        picture=picture,
        cam_from_world=cam_from_world.double(),
        gain=one,
        offset=0 * one,
        scale=SCALE_START * one,
        damping=DAMPING * one,
        alive=alive,
        active=alive.clone(),  # steps are taken in place
        step=torch.full_like(one, torch.inf),
        steps=torch.zeros_like(picture),
    )
