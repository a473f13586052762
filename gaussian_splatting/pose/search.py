"""The search of the Gauss-Newton refiner down a pyramid: tensors in, tensors out. No value is read on the host, so a
GPU runs it without waiting, and can run it as one graph.

The small pictures of the coarse levels are drawn from a simplified model, and photograph and drawing are filtered
alike: the splats' dilation of 0.3 px^2 is the low-pass filter, their opacities make up for it (`detail`), and the
photograph, which averaging has filtered with a box, gets the rest. Otherwise the object swells at coarse levels and
appears too near.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from diff_gaussian_rasterization.constants import COVARIANCE_DILATION, SATURATED
from diff_gaussian_rasterization.formulas import robust_weights
from diff_gaussian_rasterization.pose import pose_normal_equations
from diff_gaussian_rasterization.pose_step import accept, propose
from diff_gaussian_rasterization.types import Cloud, Drawn, Fits, NormalEquations, PoseState, Trial
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.pose.pyramid import blur, border_color, shrink
from gaussian_splatting.pose.solve import DAMPING

if TYPE_CHECKING:
    from diff_gaussian_rasterization.cuda.rasterize import ListBuffers

JUDGED_PX = 200  # size of the pictures on which the final fit is judged
_JUDGED_SCALE = 0.05  # of its residuals
# Least scale of the residuals. Most pixels are flat and fit well from the start, so their median alone would take the
# edges, which hold the pose, for outliers.
_LEAST_SCALE = {"huber": 0.1, "tukey": 0.03}
_BASIN_DEG = 5.0  # poses nearer to each other than this will end at the same place
_NOISE_REACH = 2.2  # spreads of the border that one in 10,000 pixels of a noisy background exceeds
_BOX_VARIANCE = 1 / 12  # px^2, of averaging over a pixel


@dataclass(frozen=True)
class Level:
    """One step of the pyramid: at most `side` pixels, so many iterations, then the best `keep` hypotheses go on, one of
    each basin. Those that cost more than `margin` times the best are dropped."""

    side: int
    iterations: int
    keep: int
    margin: float = math.inf


@dataclass(frozen=True)
class SearchPlan:
    """What the search does: the levels, coarse to fine, `polish` iterations with Tukey's weights at the last one, and
    whether brightness is solved for. `shortest_step` ends a pose's iterations (radians, share of the distance)."""

    levels: tuple[Level, ...]
    polish: int
    brightness: bool
    shortest_step: float


class Pictures(NamedTuple):
    """The pictures of one level and the model to draw them with, their intrinsics, and their squared size over those
    that the model was fitted to."""

    model: Gaussians
    images: UInt8[Tensor, "q h w 3"]
    intrinsics: Float[Tensor, "q 4"]
    detail: float


class Scene(NamedTuple):
    """What stays the same during a search: the pictures of every level by their side, the object's center, and the
    background of each picture. `buffers` for the tile lists of a GPU's drawings."""

    pictures: dict[int, Pictures]
    center: Float[Tensor, "3"]
    background: Float[Tensor, "q 3"]
    buffers: "ListBuffers | None"


class SearchResult(NamedTuple):
    """One pose per picture, and the robust cost of each at JUDGED_PX."""

    state: PoseState
    cost: Float[Tensor, "q"]


def pictures_at(
    model: Gaussians, images: UInt8[Tensor, "q h w 3"], intrinsics: Float[Tensor, "q 4"], side: int, fitted_side: float
) -> Pictures:
    """The pictures made small, filtered as the rasterizer filters. `fitted_side`: longer side in pixels of the pictures
    that the model was fitted to, at these pictures' field of view."""
    small = shrink(images, side)
    height, width = small.shape[1:3]
    ratio_x, ratio_y = width / images.shape[2], height / images.shape[1]
    ratio = intrinsics.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    detail = min(1.0, max(height, width) / fitted_side) ** 2
    averaged = (1 - min(1.0, ratio_x * ratio_y)) * _BOX_VARIANCE
    small = blur(small, max(0.0, (1 - detail) * COVARIANCE_DILATION - averaged))
    return Pictures(model, small, intrinsics * ratio, detail)


def search(scene: Scene, state: PoseState, plan: SearchPlan) -> SearchResult:
    """The best pose of each picture. `state` holds equally many for each."""
    for i, level in enumerate(plan.levels):
        state, cost = _descend(scene, state, plan, level.side, level.iterations, "huber", follow=i == 0)
        last = i == len(plan.levels) - 1
        state = best_rivals(state, cost, len(scene.background), 1 if last else level.keep, level.margin)
    state, _ = _descend(scene, state, plan, plan.levels[-1].side, plan.polish, "tukey", follow=False)
    return SearchResult(state, judged(scene, state).cost)


def judged(scene: Scene, state: PoseState) -> NormalEquations:
    """The equations by whose cost the final fit is judged: at JUDGED_PX, with one scale for all pictures."""
    state = state._replace(scale=torch.full_like(state.scale, _JUDGED_SCALE), active=state.alive)
    pictures = scene.pictures[JUDGED_PX]
    return _evaluate(scene, pictures, state, _drawn(scene, state), pictures.intrinsics[state.picture], "huber")


def null_cost(scene: Scene) -> tuple[Float[Tensor, "q"], Float[Tensor, "q"]]:
    """The cost of explaining each picture by its background alone, and what of it is that background's own noise."""
    images = scene.pictures[JUDGED_PX].images.to(scene.background.dtype) / 255
    difference = images - scene.background[:, None, None]
    scale = torch.full_like(difference[:, :1, :1, 0], _JUDGED_SCALE)
    cost = robust_weights("huber", scale, difference.square().mean(3).sqrt())[1]
    _, spread = border_color(images.permute(0, 3, 1, 2))
    noise = torch.where(difference.abs().amax(3) <= _NOISE_REACH * spread[:, None, None], cost, 0)
    return cost.sum(2).sum(1), noise.sum(2).sum(1)  # rows first: a sum to one number is split among threads


def _descend(
    scene: Scene, state: PoseState, plan: SearchPlan, side: int, iterations: int, robust: str, follow: bool
) -> tuple[PoseState, Float[Tensor, "p"]]:
    """Iterations at pictures of one size, and the robust cost of where they end.

    `follow`: the scale of the residuals follows every step, and every step is taken: far from the goal they shrink
    fast, and costs of different scales do not compare.
    """
    pictures = scene.pictures[side]
    state = state._replace(active=state.alive, damping=torch.full_like(state.damping, DAMPING)).copied()
    intrinsics = pictures.intrinsics[state.picture]
    equations = _evaluate(scene, pictures, state, _drawn(scene, state), intrinsics, robust)
    trial = Trial.room_for(state, scene.center.dtype)
    for i in range(iterations):
        least = _LEAST_SCALE[robust] if follow or i == 0 else None
        propose(
            state, equations, trial, scene.center, scene.background, brightness=plan.brightness, least_scale=least
        )  # fmt: skip
        found = _evaluate(scene, pictures, state, trial.drawn, intrinsics, robust)
        accept(state, equations, trial, found, always=follow or i == 0, shortest_step=plan.shortest_step)
    return state, equations.cost


def _evaluate(
    scene: Scene, pictures: Pictures, state: PoseState, drawn: Drawn, intrinsics: Float[Tensor, "p 4"], robust: str
) -> NormalEquations:
    """The normal equations of every pose at the pictures of a level; zeros for poses that are inactive."""
    if drawn.scale.device.type != "cpu" or bool(state.active.all()):
        return _evaluate_all(scene, pictures, state.picture, drawn, intrinsics, robust)
    chosen = state.active.nonzero()[:, 0]
    some = Drawn(*(tensor[chosen] for tensor in drawn))
    part = _evaluate_all(scene, pictures, state.picture[chosen], some, intrinsics[chosen], robust)
    whole = (torch.zeros((len(state.active), *tensor.shape[1:]), dtype=tensor.dtype) for tensor in part)
    return NormalEquations(*(tensor.index_copy(0, chosen, p) for tensor, p in zip(whole, part, strict=True)))


def _evaluate_all(
    scene: Scene,
    pictures: Pictures,
    picture: Int[Tensor, "p"],
    drawn: Drawn,
    intrinsics: Float[Tensor, "p 4"],
    robust: str,
) -> NormalEquations:
    gaussians = pictures.model
    height, width = pictures.images.shape[1:3]
    cloud = Cloud(gaussians.means, gaussians.scales, gaussians.quats, gaussians.opacities, gaussians.sh)
    fits = Fits(
        cam_from_world=drawn.cam_from_world,
        intrinsics=intrinsics,
        width=width,
        height=height,
        background=drawn.background,
        targets=pictures.images,
        target_index=picture,
        center=scene.center,
        robust=robust,
        scale=drawn.scale,
        gain=drawn.gain,
        offset=drawn.offset,
        detail=pictures.detail,
    )
    return pose_normal_equations(cloud, fits, scene.buffers)


def _drawn(scene: Scene, state: PoseState) -> Drawn:
    """What the poses themselves are drawn with; for those they try, `propose` says it."""
    measured = scene.background[state.picture].double()
    behind = torch.where(measured >= SATURATED, measured * state.gain.clamp_min(1)[:, None], measured)
    scale = state.scale * state.active
    return Drawn(*(x.to(scene.center.dtype) for x in (state.cam_from_world, state.gain, state.offset, scale, behind)))


def best_rivals(
    state: PoseState, cost: Float[Tensor, "p"], pictures: int, keep: int, margin: float = math.inf
) -> PoseState:
    """Of each picture's poses the cheapest, then the cheapest of those in another basin, and so on: `keep` poses, best
    first. Small pictures hardly tell an object's front from its back, and the best few of all would be one basin, found
    again and again. Where there are no more rivals within `margin` times the best cost, the pose is not alive."""
    rotation = state.cam_from_world[:, :3, :3].unflatten(0, (pictures, -1))
    fit = state.alive & torch.isfinite(cost)
    left = torch.where(fit, cost, torch.full_like(cost, torch.inf)).view(pictures, -1)
    limit = margin * left.amin(1)
    first = torch.arange(pictures, device=cost.device)
    chosen, alive = [], []
    for rank in range(min(keep, left.shape[1])):
        lowest, best = left.min(1)
        chosen.append(best + first * left.shape[1])
        alive.append((lowest <= limit) & torch.isfinite(lowest) | (rank == 0))
        trace = (rotation * rotation[first, best][:, None]).sum(3).sum(2)
        left = left.masked_fill(trace > 1 + 2 * math.cos(math.radians(_BASIN_DEG)), torch.inf)
    kept = state.select(torch.stack(chosen, dim=1).flatten())
    return kept._replace(alive=torch.stack(alive, dim=1).flatten())
