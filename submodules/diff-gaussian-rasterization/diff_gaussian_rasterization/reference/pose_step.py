"""What the kernels of `pose_step` compute, in plain torch: general solvers and the matrix exponential."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diff_gaussian_rasterization import constants as c
from diff_gaussian_rasterization.types import NormalEquations, PoseState, Trial


def propose(
    state: PoseState, equations: NormalEquations, trial: Trial, center: Tensor, background: Tensor,
    brightness: bool, least_scale: float | None,
) -> None:  # fmt: skip
    """As `pose_step.propose`."""
    if least_scale is not None:
        state.scale.copy_(residual_scale(equations.histogram, len(background), least_scale))
    delta, length = _shortened(state, _damped_step(state, equations, brightness), center.double())
    gain = (state.gain + delta[:, c.TWIST]).clamp(c.GAIN_MIN, c.GAIN_MAX)
    offset = (state.offset + delta[:, c.TWIST + 1]).clamp(-c.OFFSET_MAX, c.OFFSET_MAX)
    measured = background.double()[state.picture]
    behind = torch.where(measured >= c.SATURATED, measured * gain.clamp_min(1)[:, None], measured)
    camera = _moved(state.cam_from_world, delta[:, : c.TWIST], center.double())
    for room, value in zip(trial[:4], (camera, gain, offset, length), strict=True):
        room.copy_(value)
    for room, value in zip(trial.drawn, (camera, gain, offset, state.scale * state.active, behind), strict=True):
        room.copy_(value)


def accept(
    state: PoseState, equations: NormalEquations, trial: Trial, found: NormalEquations, always: bool,
    shortest_step: float,
) -> None:  # fmt: skip
    """As `pose_step.accept`."""
    was_active = state.active.clone()
    better = was_active & (always | (found.cost <= equations.cost * (1 + c.COST_ROUNDING)))
    damping = torch.where(better, state.damping * c.DAMPING_DOWN, state.damping * c.DAMPING_UP)
    state.damping.copy_(damping.clamp(c.DAMPING_MIN, c.DAMPING_MAX))
    state.active.copy_(was_active & (trial.length > shortest_step * torch.where(better, 1.0, c.HOPELESS)))
    state.step.copy_(torch.where(was_active, trial.length, state.step))
    state.steps.add_(was_active)
    moved = ((state.cam_from_world, trial.cam_from_world), (state.gain, trial.gain), (state.offset, trial.offset))
    for room, value in (*moved, *zip(equations, found, strict=True)):
        room[better] = value[better]


def residual_scale(histogram: Tensor, pictures: int, least: float) -> Tensor:
    """A robust standard deviation (P,) of the residuals from their median, at least `least`; of each picture's poses
    the smallest counts. histogram: (P, 128)."""
    count = histogram.double().cumsum(1)
    half = 0.5 * count[:, -1:]
    bin_index = (count < half).sum(1, keepdim=True).clamp_max(c.RESIDUAL_BINS - 1)
    inside = histogram.double().gather(1, bin_index)
    below = count.gather(1, bin_index) - inside
    part = ((half - below) / inside.clamp_min(1)).clamp(0, 1)
    median = (bin_index + part)[:, 0] * (c.RESIDUAL_MAX / c.RESIDUAL_BINS)
    scale = (c.NORMAL_FROM_MAD * median).clamp(least, c.SCALE_MAX)
    # Where nothing was touched the median is zero and says nothing.
    scale = torch.where(count[:, -1] > 0, scale, torch.full_like(scale, torch.inf)).view(pictures, -1)
    smallest = scale.amin(1, keepdim=True).expand_as(scale).reshape(-1)
    return torch.where(torch.isfinite(smallest), smallest, torch.full_like(smallest, c.SCALE_START))


def _damped_step(state: PoseState, equations: NormalEquations, brightness: bool) -> Tensor:
    touched = equations.histogram.sum(1).double()
    hessian, gradient = equations.hessian.double(), equations.gradient.double()
    prior = touched[:, None] * (c.BRIGHTNESS_PRIOR if brightness else c.BRIGHTNESS_FIXED)
    away = torch.stack((state.gain - 1, state.offset), dim=1)
    gradient = torch.cat((gradient[:, : c.TWIST], gradient[:, c.TWIST :] + prior * away), dim=1)
    hessian = hessian + torch.diag_embed(F.pad(prior.expand(-1, c.POSE_PARAMETERS - c.TWIST), (c.TWIST, 0)))
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    floor = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-12
    damped = hessian + torch.diag_embed(state.damping[:, None] * diagonal + floor)
    delta = -torch.linalg.solve_ex(damped, gradient)[0]
    return torch.where(torch.isfinite(delta).all(1, keepdim=True), delta, torch.zeros_like(delta))


def _shortened(state: PoseState, delta: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    pivot = (state.cam_from_world[:, :3, :3] @ center) + state.cam_from_world[:, :3, 3]
    shift, turn = delta[:, :3].norm(dim=1) / pivot.norm(dim=1), delta[:, 3 : c.TWIST].norm(dim=1)
    shorten = torch.minimum(c.SHIFT_MAX / shift.clamp_min(1e-12), c.TURN_MAX / turn.clamp_min(1e-12)).clamp_max(1)
    return delta * shorten[:, None], torch.maximum(shift, turn) * shorten


def _moved(cam_from_world: Tensor, twist: Tensor, center: Tensor) -> Tensor:
    """R' = exp(omega) R and t' + R' c = t + R c + rho."""
    x, y, z = twist[:, 3:].unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=1).unflatten(1, (3, 3))
    rotation = torch.linalg.matrix_exp(skew) @ cam_from_world[:, :3, :3]
    pivot = cam_from_world[:, :3, :3] @ center + cam_from_world[:, :3, 3]
    out = cam_from_world.clone()
    out[:, :3, :3] = rotation
    out[:, :3, 3] = pivot + twist[:, :3] - rotation @ center
    return out
