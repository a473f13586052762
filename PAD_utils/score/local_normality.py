"""What residuals are usual at a place of the object, seen from a direction: learned from good views, kept on the model.

The few good pictures that score highest show highlights, seams that open at one angle and interiors that are modeled
badly. All of these are functions of place and direction, and neighboring good views show the same error at the same
place. So each good view's residual ratios are brought back onto the Gaussians by their blending weights (the gradient
of a rendered scalar color); at a query, views from similar directions are averaged and rendered at the query's pose.

Where few views saw a place from near the query's direction, the model guesses: what lies behind a column, a face that
one view alone shows. Few views also tell little there about what residual is usual. So more is to be expected, by as
much as such a place is worse supported than what good views mostly show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.rendering import render_features
from PAD_utils.score import resample
from PAD_utils.score.on_model import on_cells

_KAPPA = 20.0  # of the von Mises-Fisher weights of directions: half at 15 degrees, a step of MAD-Sim's rig
_NEAREST = 40  # views that are averaged: of MAD-Sim's 210 the others together weigh less than a fiftieth
_MOST_CELLS = 4096  # neighboring Gaussians share a cell, so that 210 views of 4 levels take 9 MB and not 230
_UNSEEN = 0.3  # views that every place counts as seen by: a place that no other view shows is not quite unknown
_SETTLED = 0.25  # uncertainty at 1.7 views: where a gallery mostly has more, the model is not much surer for it
_PRIOR = 0.1  # pixels in which a cell showed no residual: holds the mean where hardly a view saw it
_BLUR = 1.0  # pixels of the maps given back, which are half the size of comparison
_LEAST_ALPHA = 0.05


@dataclass(frozen=True)
class LocalNormality:
    """Per good view and cell of Gaussians: mean residual ratio of each level, and in how many pixels it was seen; and
    the uncertainty (`_uncertainty`) at the median place of a good view."""

    cells: Int[Tensor, "n"]
    center: Float[Tensor, "3"]  # of the object, world units
    directions: Float[Tensor, "v 3"]  # from the center to the camera
    means: Float[Tensor, "v l c"]
    pixels: Float[Tensor, "v c"]
    usual_uncertainty: float

    @torch.no_grad()
    def expected(
        self, gaussians: Gaussians, cameras: Sequence[Camera], without: Sequence[int | None] | None = None
    ) -> Float[Tensor, "b l h w"]:
        """The ratio of every level to be expected at every pixel of each camera: what good views showed there, and more
        where fewer of them than usual saw the place.

        `without`: for each camera the index of the view that may not have a say, since it is to be judged itself.
        """
        directions = torch.stack([_direction(camera, self.center) for camera in cameras])
        weight = torch.exp(_KAPPA * (_cosines(directions, self.directions) - 1))
        for row, own in enumerate(without or ()):
            if own is not None:
                weight[row, own] = 0
        weight, near = weight.topk(min(_NEAREST, weight.shape[1]), dim=1)
        pixels = weight[..., None] * self.pixels[near].float()
        total = torch.einsum("bvc,bvlc->blc", pixels, self.means[near].float())
        unsure = _uncertainty(weight, self.pixels[near].float(), self.pixels.float().amax(0)) - self.usual_uncertainty
        more = unsure.clamp_min(0) / max(self.usual_uncertainty, _SETTLED)
        values = total / (pixels.sum(1, keepdim=True) + _PRIOR) + more[:, None]
        values = values[..., self.cells]
        return _drawn(gaussians, values, cameras)


def _cosines(some: Float[Tensor, "b 3"], others: Float[Tensor, "v 3"]) -> Float[Tensor, "b v"]:
    """Of unit vectors, written out: a library's product rounds as there are many."""
    x, y, z = (a[:, None] * b for a, b in zip(some.unbind(1), others.unbind(1), strict=True))
    return x + y + z


class LocalStatistics:
    """Gathers residual ratios of good views on the Gaussians, view by view."""

    def __init__(self, gaussians: Gaussians, most_cells: int = _MOST_CELLS) -> None:
        self._gaussians = gaussians
        self._cells = _cells_of(gaussians.means, most_cells)
        self._count = int(self._cells.max()) + 1
        self._center = gaussians.means.median(0).values
        self._views: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, cameras: Sequence[Camera], ratios: Float[Tensor, "b l h w"]) -> None:
        """The ratios of good views, in pixels of their cameras, all of one size."""
        found = on_cells(self._gaussians, self._cells, self._count, cameras, ratios)
        directions = [_direction(camera, self._center) for camera in cameras]
        self._views += [(direction, *one) for direction, one in zip(directions, found, strict=True)]

    def finish(self) -> LocalNormality:
        """What was gathered. Raises ValueError if no view was added."""
        if not self._views:
            raise ValueError("what is usual at a place cannot be learned from no view at all")
        directions, means, pixels = (torch.stack(parts) for parts in zip(*self._views, strict=True))
        usual = _usual_uncertainty(directions, pixels.float())
        return LocalNormality(self._cells.int(), self._center, directions, means, pixels, usual)


def _uncertainty(
    weight: Float[Tensor, "b v"], pixels: Float[Tensor, "*b v c"], best: Float[Tensor, "c"]
) -> Float[Tensor, "b c"]:
    """1 / (n + 0.3)^2, a form that was tried and not derived (docs/scoring.md), with n the views that saw each cell: by
    the weight of their direction, and by their share of the pixels in which the cell is seen `best`."""
    seen = (weight[..., None] * (pixels / best.clamp_min(1e-3))).sum(-2)
    return 1 / (seen + _UNSEEN).square()


def _usual_uncertainty(directions: Float[Tensor, "v 3"], pixels: Float[Tensor, "v c"]) -> float:
    """The median over all pixels of all good views, each view without its own part."""
    weight = torch.exp(_KAPPA * (_cosines(directions, directions) - 1)).fill_diagonal_(0)
    best = pixels.amax(0)
    found = torch.stack([_uncertainty(row[None], pixels, best)[0] for row in weight]).flatten()
    order = found.argsort()
    share = pixels.flatten()[order].double().cumsum(0)
    return float(found[order[torch.searchsorted(share, share[-1:] / 2).clamp_max(len(order) - 1)]])


def _direction(camera: Camera, center: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """From the center to the camera, on the center's device."""
    return F.normalize(camera.center.to(center) - center, dim=0)


def _cells_of(means: Float[Tensor, "n 3"], most: int) -> Int[Tensor, "n"]:
    """The number of each Gaussian's cell: that of its own, or of the smallest cube of space that leaves at most `most`
    of them occupied."""
    if len(means) <= most:
        return torch.arange(len(means), device=means.device)
    shifted = means - means.amin(0)
    small, large = 0.0, float(shifted.max()) * 1.01
    numbers = torch.zeros(len(means), dtype=torch.long, device=means.device)
    for _ in range(16):
        side = math.sqrt(small * large) if small else large / 64
        found, inverse = (shifted / side).floor().long().unique(dim=0, return_inverse=True)
        if len(found) > most:
            small = side
        else:
            large, numbers = side, inverse
    return numbers


def _drawn(gaussians: Gaussians, values: Float[Tensor, "b l n"], cameras: Sequence[Camera]) -> Float[Tensor, "b l h w"]:
    """Means of the values of what shows at each pixel, blurred a little; 0 beside the object."""
    drawn, alpha = render_features(gaussians, values.mT, list(cameras))
    rows, columns = (_blurring(n, values.device) for n in drawn.shape[-2:])
    drawn, alpha = (resample.apply(rows, x, columns) for x in (drawn, alpha[:, None]))
    return drawn / alpha.clamp_min(_LEAST_ALPHA)


@resample.kept(16)
def _blurring(size: int, device: torch.device) -> Float[Tensor, "n n"]:
    """The blur along one axis, kept on the device."""
    return resample.gaussian_matrix(size, _BLUR).to(device, torch.float32)
