"""A change of light or exposure between gallery and query, fitted robustly, so that it is not taken for a defect."""

import torch
import torch.nn.functional as F
from diff_gaussian_rasterization.constants import NORMAL_FROM_MAD
from jaxtyping import Bool, Float
from torch import Tensor

from PAD_utils.score import resample

_ITERATIONS = 6
_SAMPLES = 20_000  # pixels used of each picture, evenly spread
_SATURATED = (0.005, 0.995)  # outside, a camera no longer tells brightness
_NOISE = 0.004  # one gray level: residuals below are no outliers
_PRIOR = 1e-4  # of variance at gain 1: holds the fit where a picture shows next to nothing
_GAIN_RANGE = (0.6, 1.6)
_CELL = 8  # pixels: brightness is compared in squares of this side
_REACH = 40.0  # pixels, standard deviation: brightness that changes faster is no light but an object
_LIGHT_RANGE = (0.75, 1.33)
_DARK = 0.02  # of white: below, a change of brightness tells little about the light


def matched_exposure(
    renderings: Float[Tensor, "b 3 h w"], queries: Float[Tensor, "b 3 h w"], shown: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b 3 h w"]:
    """The renderings with gain and offset per color fitted to the queries where they show the object, in [0, 1]. What
    is beside it was taken from the queries themselves (`over_backdrop`): it tells nothing, and stays as it is.

    Reweighted least squares (Tukey-like weights around the median residual), so that a defect does not pull. Where the
    query is saturated, brighter renderings are right as well.
    """
    stride = max(1, renderings.shape[2] * renderings.shape[3] // _SAMPLES)
    x, y = renderings.flatten(2)[..., ::stride], queries.flatten(2)[..., ::stride]
    object_ = shown.flatten(1)[:, None, ::stride]
    if x.device.type == "cpu" and len(x) == 1 and object_.any():  # the same samples, without those that weigh nothing
        places = object_[0, 0].nonzero()[:, 0]
        x, y, object_ = x[..., places], y[..., places], object_[..., places]
    inside = (y > _SATURATED[0]) & (y < _SATURATED[1]) & object_
    gain, offset = torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :1])
    weight = torch.ones_like(x)
    for iteration in range(_ITERATIONS):
        fitted = gain * x + offset
        if iteration:
            error = (y - fitted).abs()
            spread = NORMAL_FROM_MAD * error.masked_fill(~inside, torch.nan).nanmedian(-1, keepdim=True).values
            weight = 1 / (1 + (error / (2 * (spread.nan_to_num() + _NOISE))).square()).square()
        beyond = ((y >= _SATURATED[1]) & (fitted < y)) | ((y <= _SATURATED[0]) & (fitted > y))
        gain, offset = _line(x, y, weight * (inside | (beyond & object_)))
    seen = inside.sum(-1, keepdim=True) > 0
    gain, offset = torch.where(seen, gain, torch.ones_like(gain)), torch.where(seen, offset, torch.zeros_like(offset))
    return torch.where(shown[:, None], gain[..., None] * renderings + offset[..., None], renderings).clamp(0, 1)


def matched_light(
    renderings: Float[Tensor, "b 3 h w"], queries: Float[Tensor, "b 3 h w"], shown: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b 3 h w"]:
    """The renderings with a slowly varying brightness fitted to the queries where the object is `shown`.

    A lamp that was moved brightens some faces and darkens others; a defect is too small to do that.
    """
    mask = shown[:, None].to(renderings)
    bright, dark = (_cells(mask * pictures.mean(1, keepdim=True)) for pictures in (queries, renderings))
    bright = torch.minimum(torch.maximum(bright, _LIGHT_RANGE[0] * dark), _LIGHT_RANGE[1] * dark)
    rows, columns = (_spreading(n, bright.device) for n in bright.shape[-2:])
    bright, dark, area = (resample.apply(rows, x, columns) for x in (bright, dark, _cells(mask)))
    least = _DARK * area + 1e-4
    factor = F.interpolate((bright + least) / (dark + least), size=renderings.shape[-2:], mode="bilinear")
    return torch.where(shown[:, None], renderings * factor, renderings).clamp(0, 1)


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Float[Tensor, "b 3 1"], Float[Tensor, "b 3 1"]]:
    """Gain and offset of the weighted least squares line through (x, y), of each picture and color."""
    total = weight.sum(-1, keepdim=True).clamp_min(1e-6)
    mean_x, mean_y = ((weight * v).sum(-1, keepdim=True) / total for v in (x, y))
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum(-1, keepdim=True) / total
    variance = (weight * (x - mean_x).square()).sum(-1, keepdim=True) / total
    gain = ((covariance + _PRIOR) / (variance + _PRIOR)).clamp(*_GAIN_RANGE)
    return gain, mean_y - gain * mean_x


def _cells(pictures: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 a c"]:
    """Means of squares of _CELL pixels."""
    return F.avg_pool2d(pictures, _CELL, ceil_mode=True, count_include_pad=False)


@resample.kept(64)
def _spreading(cells: int, device: torch.device) -> Float[Tensor, "n n"]:
    """The blur by _REACH along one axis, kept on the device."""
    return resample.gaussian_matrix(cells, _REACH / _CELL).to(device, torch.float32)
