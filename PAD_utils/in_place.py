"""Poses of a part that stands where it stood for the good views: its surroundings hold them as no cut-out does."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.pose.types import PoseEstimate, Refiner
from gaussian_splatting.rendering import render
from PAD_utils.pose.localize import refine_recut
from PAD_utils.score.backdrop import OBJECT
from PAD_utils.score.exposure import matched_exposure

_FAR_OFF = 0.15  # of white: a difference that is larger says no more
_DETAILS = (3, 25)  # pixels
_EXPLAINED = 0.15  # share of the surroundings' details that a model of them must explain to be trusted


def refine_in_place(
    part: Gaussians,
    surroundings: Gaussians,
    photographs: UInt8[Tensor, "q h w 3"],
    found: Sequence[PoseEstimate],
    refiner: Refiner,
    backdrop: Color,
) -> list[PoseEstimate]:
    """What was found on cut-outs, or, where the model of the surroundings explains what is beside the part, the poses
    that this model finds from there, judged by what the part leaves unexplained. `backdrop`: the color in [0, 1] that
    the part was trained before."""
    there = refiner.refine(surroundings, photographs, [[estimate.camera] for estimate in found])
    cameras = [estimate.camera for estimate in there]
    judged = refine_recut(part, photographs, cameras, refiner, backdrop)
    return [
        replace(new, camera=camera) if share > _EXPLAINED else old
        for old, new, camera, share in zip(
            found, judged, cameras, explained(part, surroundings, photographs, cameras).tolist(), strict=True
        )
    ]


@torch.no_grad()
def explained(
    part: Gaussians, surroundings: Gaussians, photographs: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera]
) -> Float[Tensor, "q"]:
    """Which share of the details beside the part the model of its surroundings explains; below 0 if it adds some. Noise
    is no detail, and neither is what any bright table before a dark wall shows."""
    queries = photographs.to(part.means.device).permute(0, 3, 1, 2).float() / 255
    beside = render(part, list(cameras), (0.0, 0.0, 0.0)).alpha < OBJECT
    drawn = render(surroundings, list(cameras), (0.0, 0.0, 0.0)).image.clamp(0, 1)
    there, expected = _details(queries), _details(matched_exposure(drawn, queries, beside))

    def total(values: Tensor) -> Float[Tensor, "q"]:
        return (values.abs().clamp_max(_FAR_OFF).sum(1) * beside).sum((1, 2))

    return 1 - total(there - expected) / total(there).clamp_min(1e-6)


def _details(pictures: Float[Tensor, "q 3 h w"]) -> Float[Tensor, "q 3 h w"]:
    """What is larger than the one and smaller than the other of two sizes."""
    small, large = (F.avg_pool2d(pictures, s, 1, s // 2, count_include_pad=False) for s in _DETAILS)
    return small - large
