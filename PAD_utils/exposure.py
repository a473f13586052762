"""A change of light or exposure between gallery and query, fitted robustly, so that it is not taken for a defect."""

import torch
from jaxtyping import Float
from torch import Tensor

_ITERATIONS = 5
_SAMPLES = 20_000  # pixels used of each picture, evenly spread
_SATURATED = (0.005, 0.995)  # outside, a camera no longer tells brightness
_NOISE = 0.004  # one grey level: residuals below are no outliers
_PRIOR = 1e-4  # of variance at gain 1: holds the fit where a picture shows next to nothing
_GAIN_RANGE = (0.6, 1.6)


def matched_exposure(
    renderings: Float[Tensor, "b 3 h w"], queries: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """The renderings with gain and offset per colour fitted to the queries, clamped to [0, 1].

    Reweighted least squares (Tukey-like weights around the median residual), so that a defect does not pull.
    """
    stride = max(1, renderings.shape[2] * renderings.shape[3] // _SAMPLES)
    x, y = renderings.flatten(2)[..., ::stride], queries.flatten(2)[..., ::stride]
    usable = ((y > _SATURATED[0]) & (y < _SATURATED[1])).to(x)
    weight = usable
    for _ in range(_ITERATIONS):
        total = weight.sum(-1, keepdim=True).clamp_min(1e-6)
        mean_x, mean_y = ((weight * v).sum(-1, keepdim=True) / total for v in (x, y))
        covariance = (weight * (x - mean_x) * (y - mean_y)).sum(-1, keepdim=True) / total
        variance = (weight * (x - mean_x).square()).sum(-1, keepdim=True) / total
        gain = ((covariance + _PRIOR) / (variance + _PRIOR)).clamp(*_GAIN_RANGE)
        offset = mean_y - gain * mean_x
        error = (y - gain * x - offset).abs()
        spread = 1.4826 * error.masked_fill(usable == 0, torch.nan).nanmedian(-1, keepdim=True).values
        weight = usable / (1 + (error / (2 * (spread.nan_to_num() + _NOISE))).square()).square()
    seen = usable.sum(-1, keepdim=True) > 0
    gain, offset = torch.where(seen, gain, torch.ones_like(gain)), torch.where(seen, offset, torch.zeros_like(offset))
    return (gain[..., None] * renderings + offset[..., None]).clamp(0, 1)
