"""Several photographs of one part: their maps brought together on the model, and one decision.

A defect that several photographs show a little is evidence that none of them is alone. So the maps are brought onto
cells of the model by blending weights (`on_cells`), and what photographs show of the same cell is added up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from PAD_utils.score.calibration import as_fresh, upper_quantile
from PAD_utils.score.on_model import on_cells

_SEEN_PX = 1.0  # pixels, at half the size of comparison, from which on a photograph is a full witness of a cell
_WAYS = 24  # to form parts of the good views; thresholds are averaged over them
_FEWEST_PARTS = 5


@dataclass(frozen=True)
class Evidence:
    """Of some photographs: per cell of Gaussians the mean of the score map over the pixels that show it, and how many
    pixels do."""

    means: Float[Tensor, "v c"]
    pixels: Float[Tensor, "v c"]


@dataclass(frozen=True)
class PartDecision:
    """Of several photographs of one part: how unlike a good part they are together, the threshold for as many, and OK,
    DEFECT or NOT LOCALISED; None where there is none."""

    score: float | None
    threshold: float | None
    decision: str | None


@dataclass(frozen=True)
class PartCalibration:
    """The threshold of parts of `photographs` photographs, the rate of false alarms it aims at, and `attainable_rate`
    as of `Calibration`, of as many parts as the good views make without being used twice."""

    threshold: float
    false_alarm_rate: float
    attainable_rate: float
    photographs: int


def evidence(
    gaussians: Gaussians, cells: Int[Tensor, "n"], cameras: Sequence[Camera], maps: Sequence[Float[Tensor, "_ _"]]
) -> Evidence:
    """Score maps on the cells. `cameras` may be smaller than the maps, which are then averaged."""
    count, found = int(cells.max()) + 1, []
    for (width, height), some in groupby(zip(cameras, maps, strict=True), lambda pair: (pair[0].width, pair[0].height)):
        taken, shown = zip(*some, strict=True)
        small = [F.interpolate(one[None, None].to(gaussians.means), (height, width), mode="area") for one in shown]
        found += on_cells(gaussians, cells, count, taken, torch.cat(small))
    return Evidence(torch.cat([one.means for one in found]), torch.stack([one.pixels for one in found]))


def joined(some: Sequence[Evidence]) -> Evidence:
    """That of one photograph after the other."""
    return Evidence(torch.cat([one.means for one in some]), torch.cat([one.pixels for one in some]))


def together(means: Float[Tensor, "*p v c"], pixels: Float[Tensor, "*p v c"]) -> Float[Tensor, "*p"]:
    """Of each part the strongest evidence on one cell: what its photographs show there, summed over those that see it,
    over the root of their number, as sums of independent errors grow."""
    weight = (pixels.float() / _SEEN_PX).clamp(max=1)
    return ((means.float() * weight).sum(-2) / weight.square().sum(-2).sqrt().clamp_min(1)).amax(-1)


@dataclass(frozen=True, eq=False)
class GoodParts:
    """Parts made of good views, which teach how to judge others of as many photographs.

    `places`: maps of the good views on the cells. `seen`, `held_out`: scores of the views that training saw, which come
    first in `places`, and of those that were held out from it. `inflation`: of the former where none were held out.
    """

    places: Evidence
    seen: list[float]
    held_out: list[float]
    inflation: float

    def score(self, part: Evidence, scores: Sequence[float]) -> float:
        """How unlike a good part these photographs of a part are: of the highest score of a photograph, and of the most
        that they show on one cell together, the larger one, in standard deviations over good parts of as many.

        Raises ValueError where the good views make fewer than five parts of as many.
        """
        middle, spread, _ = self._learned(len(scores))
        figures = np.array([max(scores), float(together(part.means, part.pixels))])
        return float(((figures - middle) / spread).max())

    def calibration(self, photographs: int, false_alarm_rate: float) -> PartCalibration:
        """The threshold of `score`: averaged over ways to form parts of the good views, in each of which every view is
        used once. Raises ValueError as `score`."""
        middle, spread, ways = self._learned(photographs)
        thresholds = []
        for way in ways:
            seen, held_out = (((figures - middle) / spread).max(1) for figures in way)
            parts = as_fresh(seen, held_out) if len(held_out) else seen
            thresholds.append(upper_quantile(parts, false_alarm_rate, logarithms=True))
        count = sum(map(len, ways[0]))
        return PartCalibration(float(np.mean(thresholds)), false_alarm_rate, 1 / (count + 1), photographs)

    @lru_cache(maxsize=32)  # noqa: B019 (a run has one or two of these objects)
    def _learned(self, photographs: int) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Mean and standard deviation of both figures over good parts, and the figures themselves (p, 2), way by way:
        of parts of seen views, and of held-out ones."""
        rng = np.random.default_rng(0)
        kinds = np.arange(len(self.seen)), len(self.seen) + np.arange(len(self.held_out))
        ways = []
        for _ in range(_WAYS):
            seen, held_out = (self._figures(_parts_of(rng.permutation(kind), photographs)) for kind in kinds)
            ways.append((seen * (1.0 if self.held_out else self.inflation), held_out))
        every = np.concatenate([figures for way in ways for figures in way])
        if len(every) < _FEWEST_PARTS * _WAYS:
            raise ValueError(f"the good views make fewer than {_FEWEST_PARTS} parts of {photographs} photographs")
        return every.mean(0), every.std(0) + 1e-6, ways

    def _figures(self, parts: Int[np.ndarray, "p v"]) -> Float[np.ndarray, "p 2"]:
        """The two figures of `score` of parts, given by the numbers of their views."""
        scores = np.array([*self.seen, *self.held_out])[parts]
        rows = torch.from_numpy(parts).to(self.places.means.device)
        on_model = together(self.places.means[rows], self.places.pixels[rows]).cpu().numpy()
        return np.stack((scores.max(1), on_model), 1).astype(np.float64)


def _parts_of(views: Int[np.ndarray, "v"], photographs: int) -> Int[np.ndarray, "p n"]:
    """The views in groups; what is left over is left out."""
    return views[: len(views) // photographs * photographs].reshape(-1, photographs)
