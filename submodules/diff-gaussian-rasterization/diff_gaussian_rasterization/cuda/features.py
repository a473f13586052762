"""Numbers on Gaussians drawn and lifted on a GPU: projected and sorted once, blended three channels at a time.

Shapes as in `diff_gaussian_rasterization.features`; all float32 and contiguous.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from diff_gaussian_rasterization.cuda.rasterize import Lists, Radii, blend, blend_gradient, with_room
from diff_gaussian_rasterization.types import PictureGradient, Scene

_CHANNELS = 3
_COLOR = 8  # floats before a splat's color; csrc/cuda/device.h
_COLOR_SUM = 6  # floats before the gradient's


def rasterize(scene: Scene, features: Tensor) -> tuple[Tensor, Tensor]:
    """(pictures, alpha)."""

    def draw(radii: Radii, splats: Tensor, lists: Lists) -> tuple[Tensor, Tensor]:
        pictures, alpha = [], splats.new_empty(0)
        for some in features.split(_CHANNELS, dim=2):
            splats[..., _COLOR : _COLOR + some.shape[2]] = some
            drawn = blend(scene, radii, splats, lists)
            pictures.append(drawn.image[:, : some.shape[2]])
            alpha = drawn.alpha
        return torch.cat(pictures, dim=1), alpha

    return with_room(scene, draw)


def lift(scene: Scene, pictures: Tensor) -> Tensor:
    """The sums per view and Gaussian."""

    def gather(radii: Radii, splats: Tensor, lists: Lists) -> Tensor:
        drawn, lifted = blend(scene, radii, splats, lists), []
        for some in pictures.split(_CHANNELS, dim=1):
            outer = F.pad(some, (0, 0, 0, 0, 0, _CHANNELS - some.shape[1])).contiguous()
            sums = blend_gradient(scene, drawn[:3], splats, lists, PictureGradient(outer, None, None))
            lifted.append(sums[..., _COLOR_SUM : _COLOR_SUM + some.shape[1]])
        return torch.cat(lifted, dim=2)

    return with_room(scene, gather)
