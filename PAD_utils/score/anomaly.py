"""Anomaly maps: how a photograph differs from the rendering of a good object at the same pose."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from PAD_utils.score import resample
from PAD_utils.score.exposure import matched_exposure, matched_light
from PAD_utils.score.normality import (
    Normality,
    NormalityStatistics,
    median_ratio,
    shown_at,
    shown_object,
    typical_expected,
)
from PAD_utils.score.pyramid import FeaturePyramid, imagenet_normalized

_PAIRS_PER_BATCH = {"cpu": 1, "cuda": 32}  # small enough for the caches, and for memory at 800 px
_ORDINARY = 0.25  # ratios of squared residuals to what is expected, below which differences hardly count
_COLOR_WEIGHT = 2.0  # of the colors among the levels: the one level that is not blurred by a network
_MARGIN = 32  # pixels around the object, and steps in which its surroundings are cut off
_NOISE_VIEWS = 16  # of the good views, for the level of noise


@dataclass(frozen=True)
class ScoreConfig:
    """How two pictures are compared. Lengths are in pixels of the compared size, `sigma` too."""

    side: int | None  # shorter side at which pictures are compared; None: as they come
    only_shrink: bool  # leave pictures smaller than `side` as they are
    eight_bit: bool  # resize 8-bit pictures as PIL does, instead of an antialiased resize of numbers
    normalized: bool  # residuals count by how many times they exceed what is normal, and not as they are
    match_exposure: bool  # fit gain and offset of the colors first, and slow changes of brightness
    sigma: float  # standard deviation of the final Gaussian blur
    inflation: float  # of scores of views trained on, where none were held out: half of the most seen on tuning classes

    @staticmethod
    def paper() -> "ScoreConfig":
        """SplatPose's score: 224 px, squared differences of colors and features, sigma 4, the maximum."""
        return ScoreConfig(
            224, only_shrink=False, eight_bit=True, normalized=False, match_exposure=False, sigma=4.0, inflation=2.8
        )

    @staticmethod
    def fast() -> "ScoreConfig":
        """The default: finer pictures, residuals against what is normal there, indifferent to exposure."""
        return ScoreConfig(
            448, only_shrink=True, eight_bit=False, normalized=True, match_exposure=True, sigma=2.0, inflation=1.2
        )


@dataclass(frozen=True)
class Scores:
    """Anomaly maps at the queries' size (float32, larger is more anomalous) and one score an image, its map's maximum:
    what is above the threshold in the map decides."""

    maps: Float[Tensor, "q h w"]
    image_scores: Float[Tensor, "q"]


@torch.no_grad()
def score_pairs(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "q 3 h w"],
    renderings: Float[Tensor, "r 3 a b"],
    config: ScoreConfig,
    normality: Normality | None = None,
) -> Scores:
    """Scores each query (in [0, 1]) against its rendering (clamped here) of the same size, on the pictures' device.

    Raises ValueError if the two batches do not have the same shape.
    """
    if queries.shape != renderings.shape:
        raise ValueError(f"queries {tuple(queries.shape)} and renderings {tuple(renderings.shape)} differ in shape")
    step = _PAIRS_PER_BATCH[queries.device.type]
    parts = [
        _score_batch(pyramid, queries[i : i + step], renderings[i : i + step], config, normality)
        for i in range(0, len(queries), step)
    ]
    return Scores(torch.cat([p.maps for p in parts]), torch.cat([p.image_scores for p in parts]))


@torch.no_grad()
def learn_normality(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "q 3 h w"],
    renderings: Float[Tensor, "r 3 a b"],
    config: ScoreConfig,
) -> Normality:
    """What residuals of good views look like: pictures of the good object with their renderings at refined poses."""
    statistics = NormalityStatistics()
    step = _PAIRS_PER_BATCH[queries.device.type]
    for i in range(0, len(queries), step):
        levels = _levels(pyramid, queries[i : i + step], renderings[i : i + step], config)
        statistics.add(levels.differences, levels.rendered, levels.shown)
    normality = statistics.finish()
    some = slice(None, None, -(-len(queries) // _NOISE_VIEWS))
    return replace(normality, noise=_noise(pyramid, queries[some], renderings[some], config, normality))


def _noise(
    pyramid: FeaturePyramid, queries: Tensor, renderings: Tensor, config: ScoreConfig, normality: Normality
) -> list[float]:
    """Per level: the median over good views of a view's own median ratio."""
    found: list[list[Tensor]] = []
    step = _PAIRS_PER_BATCH[queries.device.type]
    for i in range(0, len(queries), step):
        levels = _levels(pyramid, queries[i : i + step], renderings[i : i + step], config)
        found.append(
            [
                median_ratio((difference.square() / normality.expected(level, rendered)).mean(1), shown)
                for level, (difference, rendered, shown) in enumerate(zip(*levels[:3], strict=True))
            ]
        )
    return [float(torch.cat(medians).median()) for medians in zip(*found, strict=True)]


class _Levels(NamedTuple):
    """Of a batch of pairs, level by level: query minus rendering, the rendering's features, where it shows the object;
    the size (height, width) at which the pictures were compared; and the rows and columns of it that were."""

    differences: list[Tensor]
    rendered: list[Tensor]
    shown: list[Tensor]
    size: tuple[int, int]
    window: tuple[slice, slice]


def _levels(pyramid: FeaturePyramid, queries: Tensor, renderings: Tensor, config: ScoreConfig) -> _Levels:
    """Colors and features of queries and renderings, in one batch."""
    pictures = _compared_size(torch.cat((queries, renderings)), config)
    count = len(queries)
    size = pictures.shape[2], pictures.shape[3]
    good, object_ = pictures[count:], shown_object(pictures[count:])
    if config.match_exposure:
        good = matched_light(matched_exposure(good, pictures[:count]), pictures[:count], object_)
        pictures = torch.cat((pictures[:count], good))
    window = _window(pictures) if config.normalized and pictures.device.type == "cpu" else (slice(None), slice(None))
    rows, columns = window
    pictures, object_ = pictures[..., rows, columns], object_[..., rows, columns]
    maps = pyramid(pictures)
    if config.normalized:
        maps = maps[1:] or maps  # the finest features say what the colors say, with more noise
    levels = [level.float() for level in (imagenet_normalized(pictures), *maps)]
    return _Levels(
        [level[:count] - level[count:] for level in levels],
        [level[count:] for level in levels],
        [shown_at(object_, *level.shape[-2:]) for level in levels],
        size,
        window,
    )


def _window(pictures: Float[Tensor, "b 3 h w"]) -> tuple[slice, slice]:
    """The rows and columns with all that is not white, and a margin: there is nothing to see in the rest, and a CPU's
    time is that of the network. Whole steps of the coarsest level, so that the levels' grids stay where they were."""
    drawn = shown_object(pictures).any(0)
    return _span(drawn.any(1)), _span(drawn.any(0))


def _span(drawn: Bool[Tensor, "n"]) -> slice:
    places = drawn.nonzero()
    if len(places) == 0:
        return slice(None)
    first, last = int(places[0]) - _MARGIN, int(places[-1]) + 1 + _MARGIN
    return slice(max(0, first // _MARGIN * _MARGIN), min(len(drawn), -(-last // _MARGIN) * _MARGIN))


def _score_batch(
    pyramid: FeaturePyramid, queries: Tensor, renderings: Tensor, config: ScoreConfig, normality: Normality | None
) -> Scores:
    """As `score_pairs`, all pairs at once."""
    height, width = queries.shape[-2:]
    levels = _levels(pyramid, queries, renderings, config)
    whole = torch.zeros(len(queries), *levels.size, dtype=torch.float32, device=queries.device)
    rows, columns = levels.window
    total = whole[:, rows, columns]
    for i, (difference, rendered, shown) in enumerate(zip(*levels[:3], strict=True)):
        if not config.normalized:
            energy = difference.square().sum(1)
        else:
            expected = normality.expected(i, rendered) if normality else typical_expected(rendered, shown)
            ratio = (difference.square() / expected).mean(1)
            own_noise = _own_noise(ratio, shown, normality.noise[i] if normality else 1.0)
            if i == 0:
                ratio = median_filtered(ratio)
            energy = _surprise(ratio, own_noise) * (_COLOR_WEIGHT if i == 0 else 1.0)
        total += _resampled(energy, (total.shape[1], total.shape[2]), config.sigma)
    maps = _resampled(whole, (height, width), 0.0)
    return Scores(maps, maps.flatten(1).amax(1))


def _own_noise(ratio: Float[Tensor, "b h w"], shown: Bool[Tensor, "b h w"], usual: float) -> Float[Tensor, "b h w"]:
    """How much more is to be expected because of the query's own noise, which touches all of it and so shows in the
    median ratio: on the object by as much as the median exceeds the usual one, beside it by all of the median, for
    there a good view without noise has no residual. Squares of independent errors add."""
    on_object = (median_ratio(ratio, shown) - usual).clamp_min(0)
    beside = median_ratio(ratio, ~shown)
    return torch.where(shown, on_object[:, None, None], beside[:, None, None])


def _surprise(ratio: Float[Tensor, "b h w"], own_noise: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """By what factor residuals exceed what is expected, of one level, as a logarithm; 0 where there is no difference.

    The logarithm gives every level a say: moderate ratios in all of them, over a patch, are stronger evidence than a
    huge one in a single place of one.
    """
    return torch.log1p(ratio / (_ORDINARY * (1 + own_noise)))


def median_filtered(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The median of 3x3 pixels: a line one pixel wide, such as a gap that opens at one angle only, does not survive."""
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    rows = [padded[:, i : i + maps.shape[1]] for i in range(3)]
    low, middle, high = _sorted(*rows)
    columns = [[x[..., j : j + maps.shape[2]] for j in range(3)] for x in (low, middle, high)]
    lows = torch.maximum(torch.maximum(*columns[0][:2]), columns[0][2])
    highs = torch.minimum(torch.minimum(*columns[2][:2]), columns[2][2])
    return _sorted(lows, _sorted(*columns[1])[1], highs)[1]


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The least, the middle and the largest, element by element."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def _resampled(maps: Float[Tensor, "b h w"], size: tuple[int, int], sigma: float) -> Float[Tensor, "b a c"]:
    """Maps brought to another size bilinearly and blurred there."""
    rows, columns = (
        _blurred_upsampling(fine, coarse, sigma, maps.device)
        for fine, coarse in zip(size, maps.shape[-2:], strict=True)
    )
    return resample.apply(rows, maps, columns)


def _compared_size(pictures: Float[Tensor, "b 3 h w"], config: ScoreConfig) -> Float[Tensor, "b 3 a c"]:
    """Pictures clamped to [0, 1] and brought to the size of comparison."""
    height, width = pictures.shape[-2:]
    size = height, width
    if config.side is not None and not (config.only_shrink and min(size) <= config.side):
        size = resample.shrunk_size(height, width, config.side)
    if config.eight_bit:  # as torchvision's ToPILImage: cut, not rounded, to whole levels
        levels = pictures.clamp(0, 1).mul(255).floor()
        return resample.pil_resized(levels, *size) / 255
    if size == (height, width):
        return pictures.clamp(0, 1)
    rows, columns = (_shrinking(a, b, pictures.device) for a, b in zip(size, (height, width), strict=True))
    return resample.apply(rows, pictures.clamp(0, 1), columns)


@lru_cache(maxsize=64)
def _shrinking(small: int, large: int, device: torch.device) -> Float[Tensor, "s l"]:
    """Antialiased resizing along one axis, as a float32 matrix kept on the device."""
    return resample.antialiased_matrix(small, large).to(device, torch.float32)


@lru_cache(maxsize=256)
def _blurred_upsampling(fine: int, coarse: int, sigma: float, device: torch.device) -> Float[Tensor, "f c"]:
    """Bilinear upsampling followed by the Gaussian blur, along one axis, as one float32 matrix kept on the device."""
    return (resample.gaussian_matrix(fine, sigma) @ resample.bilinear_matrix(fine, coarse)).to(device, torch.float32)
