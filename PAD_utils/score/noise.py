"""How much noisier a photograph is than the good views, and what that does to its score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_QUANTILE = 0.2  # of what the filter finds: the flattest fifth of the object, where structure does not add
_OF_WHITE_NOISE = 0.4924  # that quantile of the mean of three half-normal numbers, in their standard deviation
_ONE_IN_100 = 2.33  # standard deviations
_FEWEST = 5  # good views that tell how scores change under noise


@torch.no_grad()
def residual_noise(
    queries: Float[Tensor, "b 3 h w"], renderings: Float[Tensor, "b 3 h w"], shown: Bool[Tensor, "b h w"]
) -> Float[Tensor, "b"]:
    """The standard deviation, of 1 for white, of noise in queries of which renderings show the rest; 0 without object.

    Immerkaer 1996: a filter that answers neither to planes nor to edges along an axis, of the difference.
    """
    found = F.conv2d(queries - renderings, _immerkaer(queries.device), padding=1, groups=3).abs().mean(1)[:, ::2, ::2]
    inside = found.masked_fill(~shown[:, ::2, ::2], torch.nan).flatten(1)
    return inside.nanquantile(_QUANTILE, dim=1).nan_to_num(0.0) / _OF_WHITE_NOISE


@lru_cache(maxsize=8)
def _immerkaer(device: torch.device) -> Float[Tensor, "3 1 3 3"]:
    """The filter, of each color by itself, kept on the device: an upload cannot be recorded in a CUDA graph."""
    across = torch.tensor([1.0, -2.0, 1.0], device=device)
    return (across[:, None] * across / 6).expand(3, 1, 3, 3).contiguous()


@dataclass(frozen=True)
class NoiseResponse:
    """By what factor the threshold changes when a photograph is noisier than any good view: `factor` at each `excess`
    of `residual_noise` over the `usual`, rising from 0. Squares of noise add: an excess is the root of a difference."""

    usual: float
    excess: list[float]
    factor: list[float]

    def of(self, noise: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """The factor for photographs of this noise, interpolated; beyond the noisiest, as there. On the device: the
        host does not wait."""
        excess = (noise.square() - self.usual**2).clamp_min(0).sqrt()
        factor = torch.full_like(noise, self.factor[0])
        for i in range(1, len(self.excess)):
            share = (excess - self.excess[i - 1]) / (self.excess[i] - self.excess[i - 1])
            factor += (self.factor[i] - self.factor[i - 1]) * share.clamp(0, 1)
        return factor


def learn_response(
    threshold: float, good_noise: Sequence[float], noises: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]
) -> NoiseResponse | None:
    """From the noise of all good views; and the noise and scores of some, the highest-scoring among them, as they are
    (first) and with more and more noise added.

    Noise lifts the scores of most good views a little and lowers the highest, for what is expected grows. So the
    threshold under noise keeps its place above the mean, in units of the spread above it; but where noise decides the
    scores, views that scored low rise most, and then one in a hundred of the noisy scores may exceed it, as if they
    were normal. No good view is judged as noisy, for the threshold comes from their scores. None for too few views, or
    for ones without any residual.
    """
    if len(scores[0]) < _FEWEST or threshold <= 0:
        return None
    usual, excess, factor = max(good_noise), [0.0], [1.0]
    mean, spread = _mean_and_rise(scores[0])
    for noise, noisy in zip(noises[1:], scores[1:], strict=True):
        beyond = math.sqrt(max(0.0, float(np.median(noise)) ** 2 - usual**2))
        if beyond <= excess[-1]:  # the good views are as noisy themselves
            continue
        noisy_mean, noisy_spread = _mean_and_rise(noisy)
        kept = noisy_mean + (threshold - mean) * min(1.0, noisy_spread / spread)
        excess.append(beyond)
        factor.append(max(kept, noisy_mean + _ONE_IN_100 * float(np.std(noisy))) / threshold)
    return NoiseResponse(usual, excess, factor)


def _mean_and_rise(scores: Sequence[float]) -> tuple[float, float]:
    """The mean, and the root mean square of how far scores lie above it."""
    values = np.asarray(scores, np.float64)
    return float(values.mean()), float(np.sqrt(np.square((values - values.mean()).clip(0)).mean())) + 1e-6
