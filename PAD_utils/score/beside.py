"""What a photograph shows beside a part that was cut out of its surroundings: a burr, or what stands there anyway.

A model of the surroundings (`train_surroundings`) says what stands there, well where many good views saw it near the
part, badly far behind. So a pixel is odd if it differs from all that this model shows around it, by many times what the
model is wrong in the neighborhood. And it must be explained better by a color of the part nearby: only what could be a
burr or a shifted part counts. Before other surroundings than the good views' the model is wrong everywhere, and nothing
is odd.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gaussian_splatting.rendering import Rendering
from PAD_utils.score import resample
from PAD_utils.score.anomaly import median_filtered, within_reach
from PAD_utils.score.backdrop import OBJECT, Pairs
from PAD_utils.score.exposure import matched_exposure

_REACH = 12  # pixels from the part
_PART, _SOLID = 0.5, 0.7  # alpha of what counts as the part's inside, and of pixels that tell its color
_SHIFTED = 3  # pixels, side of the square within which the surroundings may lie elsewhere
_NEAR = 10.0  # pixels, standard deviation: the neighborhood in which the model is as wrong as here
_MOST_WRONG, _LEAST_WRONG = 0.3, 0.01  # of white
_COLORS = ((3, 6, 9, 13), 12)  # pixels from here, and directions, where the part is asked for its color
_ODD = (0.5, 1.0)  # times the model's own error: from where on a difference counts, and where in full
_FAR = 1.5  # times as far as the part: what stands there lies elsewhere in every view, and few saw it there
_ODD_BEFORE_FAR = (0.8, 1.6)  # as _ODD, before what is far
_PATCH = 5  # pixels, side: what is odd is so over a patch
_NOTHING = 9.0  # a color that is no color


class Beside(NamedTuple):
    """What the model of the surroundings shows, in the photograph's exposure, and how much of the difference to the
    photograph counts, in [0, 1]; 0 on the part and far from it."""

    surroundings: Float[Tensor, "b 3 h w"]
    counts: Float[Tensor, "b h w"]


def odd_beside(
    queries: Float[Tensor, "b 3 h w"],
    surroundings: Float[Tensor, "b 3 h w"],
    on_black: Float[Tensor, "b 3 h w"],
    alpha: Float[Tensor, "b h w"],
    far: Bool[Tensor, "b h w"],
    compared: tuple[int, int],
) -> Beside:
    """What counts beside the part in photographs in [0, 1] that will be compared at this size (height, width).
    `on_black`, `alpha`: the part drawn over black; `far`: what stands there is far behind it (`far_behind`)."""
    near = within_reach(alpha > _PART, math.ceil(_REACH * alpha.shape[1] / compared[0]))
    around = matched_exposure(surroundings.clamp(0, 1), queries, near)
    # The neighborhood reaches beyond what is near, so that a burr is a small part of it.
    everywhere = matched_exposure(surroundings.clamp(0, 1), queries, torch.ones_like(near))
    least = torch.where(far, _ODD_BEFORE_FAR[0], _ODD[0])
    full = torch.where(far, _ODD_BEFORE_FAR[1], _ODD[1])
    shown = queries, around, everywhere, on_black, torch.stack((alpha, least, full), 1)
    one, two, three, four, maps = (F.interpolate(x, compared, mode="area") for x in shown)
    small_alpha, least, full = maps.unbind(1)
    odd = _odd(one, two, three, four, small_alpha)
    counts = ((odd - least) / (full - least)).clamp(0, 1) * (odd > 0)
    counts = F.interpolate(counts[:, None], alpha.shape[1:], mode="bilinear")[:, 0]
    return Beside(around, counts * (alpha < OBJECT))


def far_behind(part: Rendering, there: Rendering) -> Bool[Tensor, "b h w"]:
    """Where what a model of the surroundings shows is much farther from the camera than the part."""
    inside = part.alpha > _PART
    distance = (part.depth * inside).sum((1, 2)) / (part.alpha * inside).sum((1, 2)).clamp_min(1e-6)
    return there.depth > _FAR * distance[:, None, None] * there.alpha


def over_surroundings(
    queries: Float[Tensor, "b 3 h w"],
    on_black: Float[Tensor, "b 3 h w"],
    alpha: Float[Tensor, "b h w"],
    beside: Beside | None,
) -> Pairs:
    """As `over_backdrop` where the good views are cut out of their surroundings: the rendering is laid over the very
    photograph. Where something counts `beside` the object, it is laid over what the surroundings should show."""
    behind = queries
    if beside is not None:
        counts = beside.counts[:, None]
        behind = torch.where(counts > 0, beside.surroundings, queries)
        queries = behind + torch.where(counts > 0, counts, 1.0) * (queries - behind)
    renderings = on_black + (1 - alpha[:, None]) * behind
    return Pairs(queries, renderings.clamp(0, 1), alpha > OBJECT)


def _odd(
    queries: Float[Tensor, "b 3 h w"],
    around: Float[Tensor, "b 3 h w"],
    everywhere: Float[Tensor, "b 3 h w"],
    on_black: Float[Tensor, "b 3 h w"],
    alpha: Float[Tensor, "b h w"],
) -> Float[Tensor, "b h w"]:
    """By how many times the model's own error each pixel differs, in a patch around it; 0 on the part and far from it.
    `around`, `everywhere`: the surroundings, their exposure fitted near the part and in the whole picture."""
    free = alpha < OBJECT
    odd_places = within_reach(alpha > _PART, _REACH) & free
    away = (_distance(queries, around) - _distance_to_part(queries, on_black, alpha)).clamp_min(0)
    wrong = _mean_around(_distance(queries, everywhere).clamp_max(_MOST_WRONG), free)
    times = median_filtered(away / (wrong + _LEAST_WRONG)) * odd_places
    patch = F.max_pool2d(F.avg_pool2d(times[:, None], _PATCH, 1, _PATCH // 2), _PATCH, 1, _PATCH // 2)[:, 0]
    return patch * odd_places


def _distance(queries: Float[Tensor, "b 3 h w"], around: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """How far each color lies outside the range of those around its place, in the channel where it does most."""
    high = F.max_pool2d(around, _SHIFTED, 1, _SHIFTED // 2)
    low = -F.max_pool2d(-around, _SHIFTED, 1, _SHIFTED // 2)
    return torch.maximum(queries - high, low - queries).clamp_min(0).amax(1)


def _distance_to_part(
    queries: Float[Tensor, "b 3 h w"], on_black: Float[Tensor, "b 3 h w"], alpha: Float[Tensor, "b h w"]
) -> Float[Tensor, "b h w"]:
    """How far each color is from the nearest one that the part shows close by; very far where it shows none."""
    own = (on_black / alpha[:, None].clamp_min(_SOLID)).clamp(0, 1)
    own = matched_exposure(own, queries, alpha > _SOLID)
    solid = alpha[:, None] > _SOLID
    reach = max(_COLORS[0])
    padded = F.pad(torch.where(solid, own, _NOTHING), (reach,) * 4, value=_NOTHING)
    height, width = queries.shape[-2:]
    nearest = torch.full_like(alpha, _NOTHING)
    for right, down in _places():
        there = padded[..., reach + down : reach + down + height, reach + right : reach + right + width]
        nearest = torch.minimum(nearest, (there - queries).abs().amax(1))
    return nearest


@lru_cache(maxsize=1)
def _places() -> list[tuple[int, int]]:
    radii, directions = _COLORS
    turns = [2 * math.pi * i / directions for i in range(directions)]
    return sorted({(round(r * math.cos(a)), round(r * math.sin(a))) for r in radii for a in turns})


def _mean_around(values: Float[Tensor, "b h w"], where: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The mean over the neighborhood of each pixel, of the pixels that are marked."""
    rows, columns = (_spreading(n, values.device) for n in values.shape[-2:])
    total, count = (resample.apply(rows, x, columns) for x in (values * where, where.to(values)))
    return total / count.clamp_min(1e-3)


@resample.kept(16)
def _spreading(size: int, device: torch.device) -> Float[Tensor, "n n"]:
    """The blur by _NEAR along one axis, kept on the device."""
    return resample.gaussian_matrix(size, _NEAR).to(device, torch.float32)
