"""Steps of poses on the CPU; `pose_step` calls this."""

from torch import Tensor

from diff_gaussian_rasterization.cpu.loader import Argument, call
from diff_gaussian_rasterization.types import NormalEquations, PoseState, Trial


def propose(
    state: PoseState, equations: NormalEquations, trial: Trial, center: Tensor, background: Tensor,
    brightness: bool, least_scale: float | None,
) -> None:  # fmt: skip
    """As `pose_step.propose`."""
    call(
        "gs_pose_propose", center.dtype, len(state.gain), len(state.gain) // max(1, len(background)),
        *batch(state, equations, trial), center, background, int(brightness),
        int(least_scale is not None), least_scale or 0.0,
    )  # fmt: skip


def accept(
    state: PoseState, equations: NormalEquations, trial: Trial, found: NormalEquations, always: bool,
    shortest_step: float,
) -> None:  # fmt: skip
    """As `pose_step.accept`."""
    call(
        "gs_pose_accept", found.cost.dtype, len(state.gain), len(state.gain),
        *batch(state, equations, trial), *found, int(always), shortest_step,
    )  # fmt: skip


def batch(state: PoseState, equations: NormalEquations, trial: Trial) -> tuple[Argument, ...]:
    """The pointers of PoseBatch in csrc/common/pose_step.h."""
    under_way = (state.cam_from_world, state.gain, state.offset, state.scale, state.damping, state.step, state.steps)
    return (*under_way, state.active, *equations, *trial[:4], *trial.drawn)
