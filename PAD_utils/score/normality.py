"""What normal residuals look like: learned per feature channel from good views, applied when scoring.

A rendering is never exact: it misses the photograph by a fraction of a pixel and by some blur. So the expected square
of a residual is modeled as `floor + edge * g`, where g is the squared local gradient of the rendering's feature: near
an edge much is normal, on a flat face little is. A residual counts by how many times it exceeds what is expected.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_LEAST_FLOOR = 0.1  # of the mean residual: no channel is trusted to be exact on flat faces
_LEAST_SHARE = 0.1  # of the mean of all channels of the level: a channel that is silent on good views may not shout
_TYPICAL_FLOOR, _TYPICAL_EDGE = 0.01, 0.03  # without good views: shares of a channel's variance and squared gradient
_TYPICAL_LEAST = 1e-4  # squared units of normalized colors and features
_LEAST_VARIANCE = 1e-8  # of a channel that never varies
_SAMPLES = 20_000  # pixels of a picture that a median is taken of: more take longer and tell no more
_BACKGROUND = 0.97  # a rendering whose every color is above shows the white background


@dataclass(frozen=True)
class Normality:
    """Per level and channel: the expected squared residual on flat faces, and its growth per squared gradient; or the
    same for each view of a batch. Per
    level: the ratio of squared residuals to those that is usual on good views, as a median over the object."""

    floor: list[Float[Tensor, "*b _"]]
    edge: list[Float[Tensor, "*b _"]]
    noise: list[float]

    def expected(self, level: int, rendered: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The expected squared residual at every place of a level. Raises ValueError if the channels do not match."""
        if level >= len(self.floor) or self.floor[level].shape[-1] != rendered.shape[1]:
            raise ValueError("the normality was learned with other features than it is applied to")
        floor, edge = (x[level].to(rendered)[..., None, None] for x in (self.floor, self.edge))
        return floor + edge * squared_gradient(rendered)

    def rows(self, views: Sequence[int]) -> "Normality":
        """That of some views, where each has its own (`NormalityStatistics.without_own`); else itself."""
        if self.floor[0].ndim == 1:
            return self
        floor, edge = ([x[list(views)] for x in levels] for levels in (self.floor, self.edge))
        return Normality(floor, edge, self.noise)


class NormalityStatistics:
    """Gathers residuals of good views, batch by batch."""

    def __init__(self) -> None:
        self._parts: list[list[Float[Tensor, "b five c"]]] = []

    def add(self, differences: Sequence[Tensor], rendered: Sequence[Tensor], shown: Sequence[Tensor]) -> None:
        """Per level: query minus rendering (b, c, h, w), the rendering's features, and where it shows the object."""
        self._parts.append([_sums(*level) for level in zip(differences, rendered, shown, strict=True)])

    def finish(self) -> Normality:
        """The two coefficients of every channel, by the means below and above the median gradient of each picture; the
        noise is left at 1. Raises ValueError if no view was added."""
        return self._of([views.sum(0) for views in self._views()])

    def without_own(self) -> Normality:
        """The same for each view that was added (one row each), of all the others: by this it is judged itself. An
        only view is judged by what it taught. Raises ValueError if no view was added."""
        return self._of([views.sum(0) - views if len(views) > 1 else views for views in self._views()])

    def _views(self) -> list[Float[Tensor, "v five _"]]:
        if not self._parts:
            raise ValueError("normality cannot be learned from no view at all")
        return [torch.cat(parts) for parts in zip(*self._parts, strict=True)]

    @staticmethod
    def _of(levels: list[Float[Tensor, "*v five _"]]) -> Normality:
        floors, edges = [], []
        for sums in levels:
            flat_residual, flat, edge_residual, edge_gradient, edge = sums.unbind(-2)
            mean = (flat_residual + edge_residual) / (flat + edge).clamp_min(1)
            floor = flat_residual / flat.clamp_min(1)
            slope = (edge_residual - floor * edge).clamp_min(0) / edge_gradient.clamp_min(1e-12)
            least = _LEAST_SHARE * mean.mean(-1, keepdim=True) + _LEAST_VARIANCE
            floors.append(torch.maximum(torch.maximum(floor, _LEAST_FLOOR * mean), least))
            edges.append(slope)
        return Normality(floors, edges, [1.0] * len(floors))


def median_ratio(ratio: Float[Tensor, "b h w"], shown: Bool[Tensor, "b h w"]) -> Float[Tensor, "b"]:
    """The median over the object of each picture, of evenly sampled pixels; 1 where none is shown."""
    return _sampled(ratio, shown).nanmedian(1).values.nan_to_num(1.0)


def quantile_ratio(ratio: Float[Tensor, "b h w"], where: Bool[Tensor, "b h w"], share: float) -> Float[Tensor, "b"]:
    """The quantile over the marked pixels of each picture, evenly sampled; 0 where none is marked."""
    return _sampled(ratio, where).nanquantile(share, dim=1).nan_to_num(0.0)


def _sampled(ratio: Float[Tensor, "b h w"], where: Bool[Tensor, "b h w"]) -> Float[Tensor, "b n"]:
    """Some of the pixels, evenly spread, NaN where they are not marked."""
    step = max(1, round((ratio.shape[1] * ratio.shape[2] / _SAMPLES) ** 0.5))
    ratio, where = ratio[:, ::step, ::step], where[:, ::step, ::step]
    return ratio.masked_fill(~where, torch.nan).flatten(1)


def typical_expected(rendered: Float[Tensor, "b c h w"], shown: Bool[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """A guess at the expected squared residual when no good view is at hand, from each rendering's own features."""
    weight = shown.float()[:, None]
    count = weight.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (rendered * weight).sum((2, 3), keepdim=True) / count
    variance = ((rendered - mean).square() * weight).sum((2, 3), keepdim=True) / count
    return (_TYPICAL_FLOOR * variance).clamp_min(_TYPICAL_LEAST) + _TYPICAL_EDGE * squared_gradient(rendered)


def squared_gradient(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The squared gradient, the largest within one pixel: a step of an edge also matters to its neighbors."""
    x = F.pad(features, (1, 1, 1, 1), mode="replicate")
    across = 0.5 * (x[..., 1:-1, 2:] - x[..., 1:-1, :-2])
    down = 0.5 * (x[..., 2:, 1:-1] - x[..., :-2, 1:-1])
    return _largest_near(across.square() + down.square())


def _largest_near(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The largest of 3x3 pixels."""
    if x.device.type != "cpu":
        return F.max_pool2d(x, 3, stride=1, padding=1)
    # The same, several times as fast there: max_pool2d also notes where each largest one lies.
    x = F.pad(x, (1, 1, 1, 1), value=-math.inf)
    x = torch.maximum(torch.maximum(x[..., :-2], x[..., 1:-1]), x[..., 2:])
    return torch.maximum(torch.maximum(x[..., :-2, :], x[..., 1:-1, :]), x[..., 2:, :])


def shown_object(renderings: Float[Tensor, "b 3 h w"]) -> Bool[Tensor, "b h w"]:
    """Where a rendering on white shows the object."""
    return renderings.amin(1) < _BACKGROUND


def shown_at(shown: Bool[Tensor, "b h w"], height: int, width: int) -> Bool[Tensor, "b a c"]:
    """The same at the size of a feature level: wherever any of what is under it shows the object."""
    if shown.shape[1:] == (height, width):
        return shown
    return F.adaptive_max_pool2d(shown[:, None].float(), (height, width))[:, 0] > 0


def _sums(difference: Tensor, rendered: Tensor, shown: Tensor) -> Float[Tensor, "b five c"]:
    """Per picture and channel: sum of squares and count on flat places; sums of squares and gradients and count on the
    others."""
    residual, gradient = difference.square(), squared_gradient(rendered)
    masked = gradient.masked_fill(~shown[:, None], torch.nan)
    middle = masked.flatten(2).nanmedian(2).values[..., None, None]
    flat = shown[:, None] & (gradient <= middle)
    steep = shown[:, None] & (gradient > middle)
    return torch.stack(
        [
            (residual * flat).sum((2, 3)),
            flat.sum((2, 3)).to(residual),
            (residual * steep).sum((2, 3)),
            (gradient * steep).sum((2, 3)),
            steep.sum((2, 3)).to(residual),
        ],
        1,
    )
