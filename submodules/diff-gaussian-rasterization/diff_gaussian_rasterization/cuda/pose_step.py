"""Steps of poses on a GPU; `pose_step` calls this."""

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import RESIDUAL_BINS
from diff_gaussian_rasterization.cpu.pose_step import batch
from diff_gaussian_rasterization.cuda.launch import launch
from diff_gaussian_rasterization.types import NormalEquations, PoseState, Trial

_WARP = 32


def propose(
    state: PoseState, equations: NormalEquations, trial: Trial, center: Tensor, background: Tensor,
    brightness: bool, least_scale: float | None,
) -> None:  # fmt: skip
    """As `pose_step.propose`."""
    pictures = len(background)
    per_picture = len(state.gain) // max(1, pictures)
    launch(
        center.device, "pose_propose", (pictures, 1, 1), _WARP * min(4, -(-per_picture // _WARP)), per_picture,
        *batch(state, equations, trial), center, background, int(brightness),
        int(least_scale is not None), least_scale or 0.0, torch.empty_like(state.scale),
    )  # fmt: skip


def accept(
    state: PoseState, equations: NormalEquations, trial: Trial, found: NormalEquations, always: bool,
    shortest_step: float,
) -> None:  # fmt: skip
    """As `pose_step.accept`."""
    launch(
        found.cost.device, "pose_accept", (len(state.gain), 1, 1), RESIDUAL_BINS, 1,
        *batch(state, equations, trial), *found, int(always), shortest_step,
    )  # fmt: skip
