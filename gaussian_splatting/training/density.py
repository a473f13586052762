"""Adding and removing Gaussians while the optimizer keeps its memory: plain functions on a TrainingState.

`_rebuild`, `reset_opacities`, and `grow_sh` for new coefficients, are the only code outside the engines that touches
Adam's moments: a Gaussian that stays keeps its own, a new one starts from zero.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from gaussian_splatting.geometry import rotation_matrices
from gaussian_splatting.training.state import TrainingState

_SPLIT_SHRINK = 1.6  # 3DGS: the halves of a split Gaussian are this much smaller


def _rebuild(
    state: TrainingState,
    keep: Int64[Tensor, "k"],
    born: dict[str, Tensor] | None = None,
) -> None:
    """The state becomes the Gaussians `keep` (indices) followed by `born`. Statistics are cleared."""
    for name, value in state.params.items():
        new = value[:0] if born is None else born[name].to(value.dtype)
        state.params[name] = torch.cat((value[keep], new)).contiguous()
        for moments in (state.exp_avg, state.exp_avg_sq):
            moments[name] = torch.cat((moments[name][keep], torch.zeros_like(new))).contiguous()
    state.clear_statistics()


def mean_gradient(state: TrainingState) -> Float[Tensor, "n"]:
    """The mean screen gradient (normalized device coordinates) of each Gaussian since the last event, 0 if undrawn."""
    return state.grad2d_sum / state.grad2d_count.clamp_min(1)


def clone_and_split(
    state: TrainingState, grow: Bool[Tensor, "n"], split_above: float, generator: torch.Generator
) -> None:
    """3DGS densification: a Gaussian of `grow` whose largest scale (world units) is at most `split_above` is doubled in
    place; a larger one is replaced by two, drawn from it and 1.6 times smaller."""
    large = grow & (state.params["log_scales"].amax(-1) > math.log(split_above))
    clones = _select(state, grow & ~large)
    halves = [_drawn_half(_select(state, large), generator) for _ in range(2)]
    born = {k: torch.cat((clones[k], *(half[k] for half in halves))) for k in clones}
    _rebuild(state, (~large).nonzero()[:, 0], born)


def split_long_axis(state: TrainingState, grow: Bool[Tensor, "n"]) -> None:
    """Replaces each Gaussian of `grow` by two that lie along its longest axis and together cover what it covered:
    0.6 as long and 0.8 standard deviations off its center, which keeps the variance along the axis."""
    parents = _select(state, grow)
    log_scales = parents["log_scales"]
    longest = torch.nn.functional.one_hot(log_scales.argmax(-1), 3).to(log_scales)
    axis = (rotation_matrices(parents["quats"]) @ longest[..., None])[..., 0]
    shift = axis * (log_scales.exp() * longest).sum(-1, keepdim=True) * 0.8
    smaller = log_scales + longest * math.log(0.6)
    halves = [{**parents, "means": parents["means"] + sign * shift, "log_scales": smaller} for sign in (-1, 1)]
    born = {k: torch.cat((halves[0][k], halves[1][k])) for k in parents}
    _rebuild(state, (~grow).nonzero()[:, 0], born)


def prune(state: TrainingState, remove: Bool[Tensor, "n"]) -> None:
    """Takes the Gaussians of `remove` away; the last one always stays, so that a model exists."""
    if bool(remove.all()):
        remove = remove.clone()
        remove[state.params["opacity_logits"].argmax()] = False
    _rebuild(state, (~remove).nonzero()[:, 0])


def reset_opacities(state: TrainingState, ceiling: float) -> None:
    """Lowers every opacity to at most `ceiling` and forgets the moments of the opacities; statistics stay (3DGS)."""
    state.params["opacity_logits"] = state.params["opacity_logits"].clamp_max(math.log(ceiling / (1 - ceiling)))
    for moments in (state.exp_avg, state.exp_avg_sq):
        moments["opacity_logits"] = torch.zeros_like(state.params["opacity_logits"])


def grow_sh(state: TrainingState, sh_degree: int) -> None:
    """Makes room for the harmonics up to `sh_degree`: zeros, in the parameters and in the moments."""
    missing = (sh_degree + 1) ** 2 - state.params["sh"].shape[1]
    for tensors in (state.params, state.exp_avg, state.exp_avg_sq):
        tensors["sh"] = torch.nn.functional.pad(tensors["sh"], (0, 0, 0, missing))


def _select(state: TrainingState, which: Bool[Tensor, "n"]) -> dict[str, Tensor]:
    return {k: v[which] for k, v in state.params.items()}


def _drawn_half(parents: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """One sample of each parent, smaller. Drawn on the CPU: device generators differ."""
    means, scales = parents["means"], parents["log_scales"].exp()
    offset = scales * torch.randn(scales.shape, generator=generator).to(scales)
    moved = means + (rotation_matrices(parents["quats"]) @ offset[..., None])[..., 0]
    return {**parents, "means": moved, "log_scales": parents["log_scales"] - math.log(_SPLIT_SHRINK)}
