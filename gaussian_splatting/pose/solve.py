"""One damped Gauss-Newton step for many poses at once, in tensors only: no branch on a value, no number from the host,
so that a GPU can record it in a graph."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diff_gaussian_rasterization.constants import POSE_PARAMETERS, RESIDUAL_BINS, RESIDUAL_MAX, TWIST
from diff_gaussian_rasterization.types import NormalEquations
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaussian_splatting.geometry import transformed
from gaussian_splatting.pose.pyramid import NORMAL_FROM_MAD
from gaussian_splatting.pose.types import retract

SCALE_START = 0.1  # of residuals in [0, 1], while nothing is known about them
_SCALE_MAX = 0.2
_TURN_MAX, _SHIFT_MAX = 0.25, 0.1  # longest step: radians; share of the object's distance
DAMPING = 1e-3  # at the start
_DAMPING_MIN, _DAMPING_MAX = 1e-6, 1e3
_DAMPING_UP, _DAMPING_DOWN = 8.0, 0.2
_HOPELESS = 4.0  # a step refused at this multiple of the shortest is refused for rounding
_BRIGHTNESS_PRIOR = 1e-3  # weight of gain = 1 and offset = 0 per touched pixel: decides only where the picture does not


class PoseState(NamedTuple):
    """P poses under way, equally many in a row for each picture; float64. `scale` of the residuals is shared within a
    picture, so that costs compare. `step` is the length of the last step (radians, or share of the distance). A pose
    that is not `alive` has been given up and only fills a place; one that is not `active` has settled at this level."""

    picture: Int[Tensor, "p"]
    cam_from_world: Float[Tensor, "p 4 4"]
    gain: Float[Tensor, "p"]
    offset: Float[Tensor, "p"]
    scale: Float[Tensor, "p"]
    damping: Float[Tensor, "p"]
    alive: Bool[Tensor, "p"]
    active: Bool[Tensor, "p"]
    step: Float[Tensor, "p"]
    steps: Int[Tensor, "p"]

    def select(self, index: Int[Tensor, "k"]) -> "PoseState":
        """The poses at `index`."""
        return PoseState(*(tensor[index] for tensor in self))


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
        active=alive,
        step=torch.full_like(one, torch.inf),
        steps=torch.zeros_like(picture),
    )


def propose(
    state: PoseState, equations: NormalEquations, center: Float[Tensor, "3"], brightness: bool
) -> tuple[PoseState, Float[Tensor, "p"]]:
    """The state after the damped step that the equations ask for, and the step's length."""
    touched = equations.histogram.sum(1).double()
    hessian, gradient = equations.hessian.double(), equations.gradient.double()
    prior = touched[:, None] * (_BRIGHTNESS_PRIOR if brightness else 1e6)
    away = torch.stack((state.gain - 1, state.offset), dim=1)
    gradient = torch.cat((gradient[:, :TWIST], gradient[:, TWIST:] + prior * away), dim=1)
    hessian = hessian + torch.diag_embed(F.pad(prior.expand(-1, POSE_PARAMETERS - TWIST), (TWIST, 0)))
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-12
    damped = hessian + torch.diag_embed(state.damping[:, None] * diagonal + floor)
    delta = torch.nan_to_num(-solved(damped, gradient))

    distance = transformed(state.cam_from_world, center.double()).norm(dim=1)
    shift, turn = delta[:, :3].norm(dim=1) / distance, delta[:, 3:TWIST].norm(dim=1)
    shorten = torch.minimum(_SHIFT_MAX / shift.clamp_min(1e-12), _TURN_MAX / turn.clamp_min(1e-12)).clamp_max(1)
    delta = delta * shorten[:, None]
    moved = state._replace(
        cam_from_world=retract(state.cam_from_world, delta[:, :TWIST], center.double()),
        gain=(state.gain + delta[:, TWIST]).clamp(0.3, 3),
        offset=(state.offset + delta[:, TWIST + 1]).clamp(-0.5, 0.5),
    )
    return moved, torch.maximum(shift, turn) * shorten


def solved(matrix: Float[Tensor, "p n n"], right: Float[Tensor, "p n"]) -> Float[Tensor, "p n"]:
    """x with matrix x = right, for positive definite matrices, by elimination without pivoting: torch's batched solvers
    wait for the GPU."""
    rows = torch.cat((matrix, right[:, :, None]), dim=2)
    for k in range(matrix.shape[1]):
        pivot = rows[:, k] / rows[:, k, k, None]
        rows = rows - rows[:, :, k, None] * pivot[:, None]
        rows[:, k] = pivot
    return rows[:, :, -1]


def accept(
    old: PoseState,
    old_equations: NormalEquations,
    new: PoseState,
    new_equations: NormalEquations,
    length: Float[Tensor, "p"],
    always: bool,
    shortest_step: float,
) -> tuple[PoseState, NormalEquations]:
    """Takes each new pose if it costs less (or `always`), else stays and damps more. Poses that no longer move, or
    cannot get better, become inactive."""
    better = old.active & (always | (new_equations.cost <= old_equations.cost * (1 + 1e-6)))
    damping = torch.where(better, old.damping * _DAMPING_DOWN, old.damping * _DAMPING_UP)
    damping = damping.clamp(_DAMPING_MIN, _DAMPING_MAX)
    taken = new._replace(
        damping=damping,
        active=old.active & (length > shortest_step * (better + _HOPELESS * ~better)),
        step=torch.where(old.active, length, old.step),
        steps=old.steps + old.active,
    )
    kept = old._replace(damping=taken.damping, active=taken.active, step=taken.step, steps=taken.steps)
    state = PoseState(*(_where(better, a, b) for a, b in zip(taken, kept, strict=True)))
    return state, NormalEquations(*(_where(better, a, b) for a, b in zip(new_equations, old_equations, strict=True)))


def residual_scale(histogram: Int[Tensor, "p bins"], pictures: int, least: float) -> Float[Tensor, "p"]:
    """A robust standard deviation of the residuals from their median, at least `least`; of each picture's poses the
    smallest counts."""
    count = histogram.double().cumsum(1)
    half = 0.5 * count[:, -1:]
    bin_index = (count < half).sum(1, keepdim=True).clamp_max(RESIDUAL_BINS - 1)
    inside = histogram.double().gather(1, bin_index).clamp_min(1)
    below = count.gather(1, bin_index) - inside
    median = (bin_index + ((half - below) / inside).clamp(0, 1))[:, 0] * (RESIDUAL_MAX / RESIDUAL_BINS)
    scale = (NORMAL_FROM_MAD * median).clamp(least, _SCALE_MAX)
    # Where nothing was touched the median is zero and says nothing.
    scale = torch.where(count[:, -1] > 0, scale, torch.full_like(scale, torch.inf)).view(pictures, -1)
    smallest = scale.amin(1, keepdim=True).expand_as(scale).reshape(-1)
    return torch.where(torch.isfinite(smallest), smallest, torch.full_like(smallest, SCALE_START))


def _where(mask: Bool[Tensor, "p"], a: Tensor, b: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)


assert POSE_PARAMETERS == TWIST + 2
