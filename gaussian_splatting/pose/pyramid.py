"""Pictures as measurements: the color of a plain background, and pictures at several sizes."""

import torch
import torch.nn.functional as F
from diff_gaussian_rasterization.constants import NORMAL_FROM_MAD
from jaxtyping import Float, UInt8
from torch import Tensor


def border_color(pictures: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """The median color of the outermost pixels and their spread (a robust standard deviation).

    An object that covers up to half of the border does no harm.
    """
    border = torch.cat((pictures[:, :, 0], pictures[:, :, -1], pictures[:, :, :, 0], pictures[:, :, :, -1]), dim=2)
    color = border.median(dim=2).values
    spread = NORMAL_FROM_MAD * (border - color[:, :, None]).abs().amax(1).median(dim=1).values
    return color, spread


def shrink(images: UInt8[Tensor, "n h w 3"], longer_side: int) -> UInt8[Tensor, "n h2 w2 3"]:
    """The pictures averaged down to `longer_side` pixels; as they are when they are no larger."""
    height, width = images.shape[1:3]
    if max(height, width) <= longer_side:
        return images
    ratio = longer_side / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    small = F.interpolate(images.permute(0, 3, 1, 2).float(), size=size, mode="area")
    return small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def blur(images: UInt8[Tensor, "n h w 3"], variance_px2: float) -> UInt8[Tensor, "n h w 3"]:
    """The pictures under a small filter of three pixels with this variance, at most 0.5; borders continue outwards."""
    if variance_px2 < 1e-3:
        return images
    side = variance_px2 / 2
    taps = images.new_tensor([side, 1 - 2 * side, side], dtype=torch.float32).expand(3, 1, 1, 3)
    planes = F.pad(images.permute(0, 3, 1, 2).float(), (1, 1, 1, 1), mode="replicate")
    planes = F.conv2d(F.conv2d(planes, taps, groups=3), taps.mT, groups=3)
    return planes.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
