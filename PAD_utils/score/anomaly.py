"""Anomaly maps: how a photograph differs from the rendering of a good object at the same pose."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from PAD_utils.score import resample
from PAD_utils.score.levels import PAIRS_PER_BATCH, Levels, ScoreConfig, compare_levels, usual_size
from PAD_utils.score.noise import NoiseResponse
from PAD_utils.score.normality import Normality, median_ratio, quantile_ratio, typical_expected
from PAD_utils.score.pyramid import FeaturePyramid

__all__ = [
    "Ratios",
    "ScoreConfig",
    "Scores",
    "median_filtered",
    "ratios_of",
    "score_pairs",
    "score_ratios",
    "within_reach",
]

_ORDINARY = 0.25  # ratios of squared residuals to what is expected, below which differences hardly count
_BLOCK = 8  # pixels of the compared size, as of JPEG: how far its ringing reaches
_QUARTILE = 0.75
_USUAL_WEIGHT = 2.0  # of what is usual at a place, against 1 for what is expected anywhere
_COLOR_WEIGHT = 2.0  # of the colors among the levels: the one level that is not blurred by a network


@dataclass(frozen=True)
class Scores:
    """Anomaly maps at the queries' size (float32, larger is more anomalous) and one score an image, its map's maximum:
    what is above the threshold in the map decides."""

    maps: Float[Tensor, "q h w"]
    image_scores: Float[Tensor, "q"]


@dataclass(frozen=True)
class Ratios:
    """Of a batch of pairs, per level: by what factor squared residuals exceed what is expected of them. The size
    (height, width) of comparison, the rows and columns of it that the levels show, and the noise of each query."""

    levels: list[Float[Tensor, "b _ _"]]
    size: tuple[int, int]
    window: tuple[slice, slice]
    noise: Float[Tensor, "b"]

    def halved(self) -> Float[Tensor, "b l u v"]:
        """All levels at half the size of comparison, which is what `LocalStatistics` learns from; 0 beside the window,
        where nothing is to be seen."""
        whole = self.levels[0].new_zeros(len(self.noise), len(self.levels), *self.size)
        rows, columns = self.window
        inside = whole[..., rows, columns]
        for i, level in enumerate(self.levels):
            inside[:, i] = _resampled(level, (inside.shape[2], inside.shape[3]), 0.0)
        return F.interpolate(whole, usual_size(self.size), mode="area")


@torch.no_grad()
def score_pairs(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "q 3 h w"],
    renderings: Float[Tensor, "r 3 a b"],
    config: ScoreConfig,
    normality: Normality | None = None,
    usual: Float[Tensor, "q l u v"] | None = None,
    response: NoiseResponse | None = None,
    shown: Bool[Tensor, "q h w"] | None = None,
) -> Scores:
    """Scores each query (in [0, 1]) against its rendering (clamped here) of the same size, on the pictures' device.

    What good views taught is read only by a score that is normalized: their residuals, the ratios that are `usual` at
    these places (`LocalNormality.expected`), and their `response` to noise. `shown` as for `compare_levels`.
    Raises ValueError if the two batches of pictures do not have the same shape.
    """
    if queries.shape != renderings.shape:
        raise ValueError(f"queries {tuple(queries.shape)} and renderings {tuple(renderings.shape)} differ in shape")
    size, step = (queries.shape[2], queries.shape[3]), PAIRS_PER_BATCH[queries.device.type]
    parts = []
    for i in range(0, len(queries), step):
        object_ = None if shown is None else shown[i : i + step]
        levels = compare_levels(pyramid, queries[i : i + step], renderings[i : i + step], config, object_)
        if config.normalized:
            some = None if usual is None else usual[i : i + step]
            parts.append(score_ratios(ratios_of(levels, normality), config, size, some, response))
        else:
            parts.append(_score_differences(levels, config, size))
    return Scores(torch.cat([p.maps for p in parts]), torch.cat([p.image_scores for p in parts]))


def score_ratios(
    ratios: Ratios,
    config: ScoreConfig,
    size: tuple[int, int],
    usual: Float[Tensor, "b l u v"] | None = None,
    response: NoiseResponse | None = None,
) -> Scores:
    """The maps of this size (height, width) and scores of a batch, as `score_pairs` makes them of pictures.

    The logarithm gives every level a say: moderate ratios in all of them, over a patch, are stronger evidence than a
    huge one in a single place of one.
    """
    whole = ratios.levels[0].new_zeros(len(ratios.noise), *ratios.size)
    rows, columns = ratios.window
    total = whole[:, rows, columns]
    for i, ratio in enumerate(ratios.levels):
        if usual is not None:
            ratio = _against_usual(ratio, usual[:, i], ratios)
        energy = torch.log1p(ratio / _ORDINARY) * (_COLOR_WEIGHT if i == 0 else 1.0)
        total += _resampled(energy, (total.shape[1], total.shape[2]), config.sigma)
    maps = _resampled(whole, size, 0.0)
    if response is not None:
        maps = maps / response.of(ratios.noise)[:, None, None]
    return Scores(maps, maps.flatten(1).amax(1))


def _score_differences(levels: Levels, config: ScoreConfig, size: tuple[int, int]) -> Scores:
    """The paper's score: squared differences, summed over channels and levels."""
    total = sum(_resampled(d.square().sum(1), levels.size, config.sigma) for d in levels.differences)
    assert isinstance(total, Tensor)
    maps = _resampled(total, size, 0.0)
    return Scores(maps, maps.flatten(1).amax(1))


@torch.no_grad()
def ratios_of(levels: Levels, normality: Normality | None) -> Ratios:
    """Squared residuals over what is expected of them, the query's own noise included; of colors the median."""
    ratios = []
    for i, (difference, rendered, shown) in enumerate(
        zip(levels.differences, levels.rendered, levels.shown, strict=True)
    ):
        expected = normality.expected(i, rendered) if normality else typical_expected(rendered, shown)
        ratio = (difference.square() / expected).mean(1)
        reach = max(1, round(_BLOCK * ratio.shape[-1] / levels.differences[0].shape[-1]))
        own_noise = _own_noise(ratio, shown, normality.noise[i] if normality else 1.0, reach)
        ratios.append((median_filtered(ratio) if i == 0 else ratio) / (1 + own_noise))
    return Ratios(ratios, levels.size, levels.window, levels.noise)


def _against_usual(
    ratio: Float[Tensor, "b a c"], usual: Float[Tensor, "b u v"], ratios: Ratios
) -> Float[Tensor, "b a c"]:
    """What is usual there divides the ratio: an error that good views show at this place is no evidence, one that they
    never show is as much as before."""
    part = [slice((s.start or 0) // 2, s.stop and (s.stop + 1) // 2) for s in ratios.window]
    inside = usual[:, part[0], part[1]]
    rows, columns = (
        _shrinking(level, half, ratio.device) for level, half in zip(ratio.shape[1:], inside.shape[1:], strict=True)
    )
    return ratio / (1 + _USUAL_WEIGHT * resample.apply(rows, inside, columns))


def _own_noise(
    ratio: Float[Tensor, "b h w"], shown: Bool[Tensor, "b h w"], usual: float, reach: int
) -> Float[Tensor, "b h w"]:
    """How much more is to be expected because of the query's own noise, which touches all of it and so shows in the
    median ratio: on the object by as much as the median exceeds the usual one, beside it by all of the median, for
    there a good view without noise has no residual. Squares of independent errors add.

    JPEG rings beside outlines alone, up to `reach` from the object, all around it: there the third quartile counts. A
    burr fills less of that ring."""
    on_object = (median_ratio(ratio, shown) - usual).clamp_min(0)
    beside = median_ratio(ratio, ~shown)
    near = within_reach(shown, reach) & ~shown
    ringing = torch.maximum(beside, quantile_ratio(ratio, near, _QUARTILE))
    around = torch.where(near, ringing[:, None, None], beside[:, None, None])
    return torch.where(shown, on_object[:, None, None], around)


def within_reach(mask: Bool[Tensor, "b h w"], reach: int) -> Bool[Tensor, "b h w"]:
    """The mask and all pixels within a square's reach."""
    side = 2 * reach + 1
    across = F.max_pool2d(mask[:, None].float(), (1, side), 1, (0, reach))
    return F.max_pool2d(across, (side, 1), 1, (reach, 0))[:, 0] > 0


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


@resample.kept(256)
def _shrinking(small: int, large: int, device: torch.device) -> Float[Tensor, "s l"]:
    """Antialiased resizing along one axis, bilinear where it enlarges, as a float32 matrix kept on the device."""
    return resample.antialiased_matrix(small, large).to(device, torch.float32)


@resample.kept(256)
def _blurred_upsampling(fine: int, coarse: int, sigma: float, device: torch.device) -> Float[Tensor, "f c"]:
    """Bilinear upsampling followed by the Gaussian blur, along one axis, as one float32 matrix kept on the device."""
    return (resample.gaussian_matrix(fine, sigma) @ resample.bilinear_matrix(fine, coarse)).to(device, torch.float32)
