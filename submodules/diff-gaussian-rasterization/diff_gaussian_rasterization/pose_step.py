"""`propose` and `accept`: one damped Gauss-Newton step for many poses at once (csrc/common/pose_step.h).

Both work in place, without a value read on the host, so that a GPU can record them in a graph; every pose by itself, so
that it does not depend on the others of its batch.
"""

import torch
from torch import Tensor

from diff_gaussian_rasterization.cpu import pose_step as cpu
from diff_gaussian_rasterization.ops import must_use_reference
from diff_gaussian_rasterization.reference import pose_step as reference
from diff_gaussian_rasterization.types import NormalEquations, PoseState, Trial


@torch.no_grad()
def propose(
    state: PoseState,
    equations: NormalEquations,
    trial: Trial,
    center: Tensor,
    background: Tensor,
    *,
    brightness: bool,
    least_scale: float | None,
) -> None:
    """Fills `trial` with what the damped equations ask for.

    center: (3,), the object's. background: (Q, 3), measured, of the pictures. brightness: whether gain and offset are
    solved for. least_scale: if given, `state.scale` first follows the residuals, down to this, or to 0.1 where no pose
    of a picture touches it.
    """
    _backend(center).propose(state, equations, trial, center, background, brightness, least_scale)


@torch.no_grad()
def accept(
    state: PoseState,
    equations: NormalEquations,
    trial: Trial,
    found: NormalEquations,
    *,
    always: bool,
    shortest_step: float,
) -> None:
    """Moves each active pose of `state`, and its `equations`, to the trial if that was `found` to cost less (or
    `always`), else it stays and is damped more. Poses that no longer move, or cannot get better, become inactive."""
    _backend(found.cost).accept(state, equations, trial, found, always, shortest_step)


def _backend(tensor: Tensor):  # type: ignore[no-untyped-def]  # a module with these two functions
    if tensor.is_cuda:
        from diff_gaussian_rasterization.cuda import pose_step as cuda

        return cuda
    return reference if must_use_reference(tensor) else cpu
