"""Maps of photographs brought onto the model: what the pixels that a Gaussian shows in say of it.

A pixel's color is a sum over Gaussians of blending weight times color, so the gradient of (image * map).sum() in the
colors is, per Gaussian, the sum over pixels of blending weight times map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.rendering import lift_features


class OnModel(NamedTuple):
    """Per Gaussian, summed over the pixels that show it: blending weight times map, and blending weight ("pixels")."""

    sums: Float[Tensor, "n"]
    pixels: Float[Tensor, "n"]

    def mean(self, prior_pixels: float = 0.1) -> Float[Tensor, "n"]:
        """The mean of the maps where the Gaussian shows, as if that many pixels more had shown 0: what shines through
        others by a thousandth of a pixel is no witness. 0 where no pixel shows it."""
        return self.sums / (self.pixels + prior_pixels)


class OnCells(NamedTuple):
    """Per cell of Gaussians: the mean of each map over the pixels that show it, and how many pixels do; float16."""

    means: Float[Tensor, "l c"]
    pixels: Float[Tensor, "c"]


def on_cells(
    gaussians: Gaussians,
    cells: Int[Tensor, "n"],
    count: int,
    cameras: Sequence[Camera],
    maps: Float[Tensor, "b l h w"],
) -> list[OnCells]:
    """Maps of each photograph brought onto cells, by the number of each Gaussian's cell below `count`."""
    on_gaussians = lift_features(gaussians, torch.cat((maps, torch.ones_like(maps[:, :1])), dim=1), list(cameras)).mT
    sums = on_gaussians.new_zeros(*on_gaussians.shape[:2], count).index_add_(2, cells, on_gaussians)
    largest = torch.finfo(torch.float16).max
    means = (sums[:, :-1] / sums[:, -1:].clamp_min(1e-6)).clamp(0, largest).half()
    return [OnCells(*one) for one in zip(means, sums[:, -1].clamp(0, largest).half(), strict=True)]


def on_model(gaussians: Gaussians, cameras: Sequence[Camera], maps: Sequence[Float[Tensor, "_ _"]]) -> OnModel:
    """What maps of several photographs of one part say of each Gaussian. Each map is of its camera's size; sizes may
    differ. Raises ValueError if there is no map, or one is not of its camera's size."""
    if not maps:
        raise ValueError("there is no map to bring onto the model")
    sums = gaussians.means.new_zeros(2, len(gaussians))
    for camera, one in zip(cameras, maps, strict=True):
        if tuple(one.shape) != (camera.height, camera.width):
            raise ValueError(f"a map of {one.shape[1]}x{one.shape[0]} for a camera of {camera.width}x{camera.height}")
        values = one.to(sums)
        sums += lift_features(gaussians, torch.stack((values, torch.ones_like(values)))[None], [camera])[0].T
    return OnModel(*sums)
