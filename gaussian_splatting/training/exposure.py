"""Exposure per photograph: a gain and an offset per color of each training view, solved along with the model.

A camera that sets its own exposure and white balance takes one face brighter in this photograph than in the next, and
no colors of Gaussians fit both. A photograph is modeled as `gain * rendering + offset` where it shows the object. Both
are found in closed form against renderings of the present model, a few times during training, and the engine then
trains on corrected pictures. The mean gain of all views is 1 and the mean offset 0: the model keeps the usual exposure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import Color, own_color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import parallel
from gaussian_splatting.rendering import render
from gaussian_splatting.training.alignment import Shifts
from gaussian_splatting.views import View

_SIDE = 128  # pixels of the longer side: exposures need no detail
_AT_ONCE = {"cpu": 16, "cuda": 48}  # views rendered together
_LOOKED_AT = 48  # views, evenly spread, that tell whether exposures differ at all ...
_LOOK_EVERY = 7  # ... by one pixel in so many; no divisor of usual widths, so that columns take turns
_OBJECT_ALPHA = 0.95  # pixels that show less of the object than this say nothing
_ROUNDS = 5  # of reweighting
_SPREAD = 0.02  # residuals of less than this (colors in [0, 1]) are no outliers
_PRIOR = 3e-3  # variance of color at which gain 1 weighs as much as the picture
_SATURATED = (0.02, 0.98)  # outside, a photograph does not tell brightness
_RANGE = (0.5, 2.0)
_SAME = 0.05  # gains that differ by less, in nine of ten views, are errors of the model and not of the camera
_WORTH = 0.8  # of the median residual must be left at most: shading that the model has not learned yet leaves more


@dataclass(frozen=True)
class Exposures:
    """Per view and color, on the CPU: `photograph = gain * model + offset`, colors in [0, 1]. `model` is the one that
    they were solved with, a copy; None where all views were exposed alike. `shifts`: by which the views were moved
    then; None: by none."""

    gain: Float[Tensor, "v 3"]
    offset: Float[Tensor, "v 3"]
    model: Gaussians | None = None
    shifts: Shifts | None = None

    @staticmethod
    def equal(count: int) -> "Exposures":
        """Of views that were all exposed alike."""
        return Exposures(torch.ones(count, 3), torch.zeros(count, 3))

    def as_dict(self) -> dict[str, Any]:
        """Plain containers of tensors, for a checkpoint."""
        model = self.model.as_dict() if self.model else None
        return {"gain": self.gain, "offset": self.offset, "model": model, "shifts": self.shifts}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> "Exposures":
        """What `as_dict` gave."""
        model = Gaussians(**content["model"]) if content["model"] else None
        shifts = None if content["shifts"] is None else content["shifts"].cpu()
        return Exposures(content["gain"].cpu(), content["offset"].cpu(), model, shifts)


@dataclass(frozen=True)
class _Small:
    """Views made small, on a device."""

    cameras: list[Camera]
    pictures: UInt8[Tensor, "v h w 3"]

    @staticmethod
    def of(views: Sequence[View], device: torch.device | str) -> "_Small":
        """The views in the size in which exposures are solved."""
        cameras = [_small(view.camera) for view in views]
        size = cameras[0].width, cameras[0].height
        pictures = parallel(lambda view: torch.from_numpy(area_resize(view.image.numpy(), *size)), views)
        return _Small(cameras, torch.stack(pictures).to(device))


class ExposureSolver:
    """Solves the exposures of some views against a model, again and again. A few views are looked at first, and where
    these were exposed alike, all were. Small pictures are made once."""

    def __init__(self, views: Sequence[View], background: Color, device: torch.device | str) -> None:
        self._background, self._device = background, device
        self._views = list(views)
        self._few = _Small.of(self._views[:: max(1, -(-len(self._views) // _LOOKED_AT))], device)
        self._all: _Small | None = None

    @torch.no_grad()
    def solve(self, model: Gaussians) -> Exposures:
        """The exposure of every view, robustly; `Exposures.equal` if all are alike."""
        if not self._differ(*self._solve(model, self._few, _LOOK_EVERY)):
            return Exposures.equal(len(self._views))
        self._all = self._all or _Small.of(self._views, self._device)
        gain, offset, left = self._solve(model, self._all)
        if not self._differ(gain, offset, left):
            return Exposures.equal(len(self._views))
        return Exposures(gain, offset, model[torch.arange(len(model), device=model.means.device)])

    @staticmethod
    def _differ(gain: Float[Tensor, "v 3"], offset: Float[Tensor, "v 3"], left: Float[Tensor, "v"]) -> bool:
        middle_gray = (gain + 2 * offset - 1).abs().amax(1)
        return torch.quantile(middle_gray, 0.9).item() >= _SAME and left.median().item() <= _WORTH

    def _solve(
        self, model: Gaussians, small: "_Small", every: int = 1
    ) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"], Float[Tensor, "v"]]:
        """Gain and offset of each view and color, one and zero on average, and which share of the view's median
        residual they leave; from one pixel in `every`."""
        step = _AT_ONCE[model.means.device.type]
        parts = [
            self._solve_some(model, small.cameras[i : i + step], small.pictures[i : i + step], every)
            for i in range(0, len(small.cameras), step)
        ]
        gain, offset, left = (torch.cat(tensors).cpu() for tensors in zip(*parts, strict=True))
        usual = gain.mean(0)
        return gain / usual, offset - offset.mean(0) * gain / usual, left

    def _solve_some(
        self, model: Gaussians, cameras: list[Camera], pictures: UInt8[Tensor, "b h w 3"], every: int
    ) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"], Float[Tensor, "b"]]:
        out = render(model, cameras, self._background)
        photographs = pictures.permute(0, 3, 1, 2).to(out.image) / 255
        inside = (photographs > _SATURATED[0]) & (photographs < _SATURATED[1]) & (out.alpha[:, None] > _OBJECT_ALPHA)
        x, y, mask = (t.flatten(2)[..., ::every].contiguous() for t in (out.image, photographs, inside.to(out.image)))
        gain, offset = torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :1])
        for _ in range(_ROUNDS):
            error = (y - gain * x - offset) / _SPREAD
            gain, offset = _line(x, y, mask / (1 + error.square()))
        before, after = (
            (y - g * x - o).abs().masked_fill(mask == 0, torch.nan).flatten(1).nanmedian(1).values.nan_to_num(1.0)
            for g, o in ((1.0, 0.0), (gain, offset))
        )
        return gain[..., 0].float(), offset[..., 0].float(), (after / before.clamp_min(1e-6)).float()


@torch.no_grad()
def corrected(views: Sequence[View], exposures: Exposures, background: Color) -> list[View]:
    """The views as they would look with the usual exposure, in front of `background`.

    With alpha a of the model that solved them, and a view's own backdrop b, a pixel shows a (gain c + offset) +
    (1 - a) b. It becomes a c + (1 - a) background: the outline gets no fringe of the old backdrop.
    """
    model = exposures.model
    if model is None:
        return list(views)
    color = torch.tensor(background)
    result = []
    for view, gain, offset in zip(views, exposures.gain, exposures.offset, strict=True):
        alpha = render(model, [view.camera], background).alpha[0, ..., None].cpu().clamp(0, 1)
        own = torch.from_numpy(own_color(view.image)) / 255
        picture = (view.image.float() / 255 - offset) / gain + (1 - alpha) * (color - (own - offset) / gain)
        result.append(replace(view, image=(picture * 255).round().clamp(0, 255).to(torch.uint8)))
    return result


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Float[Tensor, "b 3 1"], Float[Tensor, "b 3 1"]]:
    """Gain and offset of the weighted least squares line through (x, y), of each view and color.

    The prior pulls toward offset 0 along with gain 1: where colors hardly vary, brightness is taken for a gain.
    """
    total = weight.sum(-1, keepdim=True).clamp_min(1e-6)
    mean_x, mean_y = ((weight * v).sum(-1, keepdim=True) / total for v in (x, y))
    covariance = (weight * (x - mean_x) * (y - mean_y)).sum(-1, keepdim=True) / total
    variance = (weight * (x - mean_x).square()).sum(-1, keepdim=True) / total
    proportional = (mean_y + 1e-3) / (mean_x + 1e-3)
    gain = ((covariance + _PRIOR * proportional) / (variance + _PRIOR)).clamp(*_RANGE)
    enough = weight.sum(-1, keepdim=True) > 1
    gain = torch.where(enough, gain, torch.ones_like(gain))
    return gain, torch.where(enough, mean_y - gain * mean_x, torch.zeros_like(gain))


def _small(camera: Camera) -> Camera:
    """The camera of a picture made smaller by a whole number that divides it, which is quick."""
    width, height = camera.width, camera.height
    divisors = [d for d in range(1, max(width, height) // _SIDE + 1) if width % d == height % d == 0]
    divisor = max(divisors, default=1)
    return camera.resized(width // divisor, height // divisor)
