"""Thumbnails of an object on a plain background that do not change when the object is shifted, scaled or turned in
the plane.

The silhouette's centroid and root-mean-square radius fix shift and scale; in polar coordinates about the centroid a
roll is a shift along the angle, so one Fourier transform compares all rolls at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.pose.pyramid import border_color

WORKING_PX = 128  # pictures are averaged down to this many pixels on their longer side: enough for 16 radii
RADII, ANGLES = 16, 64
EXTENT = 2.4  # radius that a thumbnail covers, in rms radii: an ellipse of axes 5:1 still fits
CHANNELS = 4  # background minus color (red, green, blue), silhouette
_SILHOUETTE_WEIGHT = 0.5  # the outline must not outvote three colors
_FAINT, _CLEAR = 0.03, 0.10  # difference from the background that counts as nothing, as object
_CHUNK = 16  # pictures that are converted to float together


@dataclass(frozen=True)
class Thumbnails:
    """Normalized pictures: `polar` (background is zero), weighted by the square root of the area of a sample;
    `inside` is 1 where a sample lies in the frame; `ray` is the centroid as (x/z, y/z), `size` the rms radius over
    the focal length, and `background` the color in [0, 1] found along the border."""

    polar: Float[Tensor, "n c r a"]
    inside: Float[Tensor, "n r a"]
    ray: Float[Tensor, "n 2"]
    size: Float[Tensor, "n"]
    background: Float[Tensor, "n 3"]

    def cat(self, other: "Thumbnails") -> "Thumbnails":
        """These and then the others."""
        return Thumbnails(*(torch.cat((a, b)) for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def before(self, background: Float[Tensor, "3"]) -> "Thumbnails":
        """The same objects before a backdrop of this color in [0, 1]."""
        mask = self.polar[:, CHANNELS - 1 : CHANNELS] / _SILHOUETTE_WEIGHT
        color = self.polar[:, : CHANNELS - 1] + mask * (background - self.background)[:, :, None, None]
        polar = torch.cat((color, self.polar[:, CHANNELS - 1 :]), dim=1)
        return replace(self, polar=polar, background=background.expand_as(self.background))


class Reduction(NamedTuple):
    """How pictures of one size are made small: to which size (height, width), and per picture the focal lengths and the
    principal point in pixels of that size."""

    size: tuple[int, int]
    focal: Float[Tensor, "n 2"]
    middle: Float[Tensor, "n 2"]


def reduction(height: int, width: int, cameras: Sequence[Camera]) -> Reduction:
    """That of pictures of this size, each with the intrinsics of its camera; on the host, which so need not wait."""
    focal = torch.tensor([[camera.fx, camera.fy] for camera in cameras])
    middle = torch.tensor([[camera.cx, camera.cy] for camera in cameras])
    stretch = (focal[:, 1] / focal[:, 0]).median().item()  # pixels are made square: a roll must be a rotation
    high, wide = height / max(1.0, stretch), width * min(1.0, stretch)
    shrink = min(1.0, WORKING_PX / max(high, wide))
    size = (max(1, round(high * shrink)), max(1, round(wide * shrink)))
    scale = torch.tensor([size[1] / width, size[0] / height])
    return Reduction(size, focal * scale, middle * scale)


def make_thumbnails(images: UInt8[Tensor, "n h w 3"], cameras: Sequence[Camera]) -> Thumbnails:
    """Thumbnails of pictures of one size, each with the intrinsics of its camera, on the pictures' device."""
    height, width = images.shape[1:3]
    result, *others = (
        thumbnails(images[i : i + _CHUNK], reduction(height, width, cameras[i : i + _CHUNK]))
        for i in range(0, len(images), _CHUNK)
    )
    for other in others:
        result = result.cat(other)
    return result


def thumbnails(images: UInt8[Tensor, "n h w 3"], reduced: Reduction) -> Thumbnails:
    """As `make_thumbnails`, of a few."""
    small = F.interpolate(images.permute(0, 3, 1, 2).float() / 255, size=reduced.size, mode="area")
    background, spread = border_color(small)
    difference = background[:, :, None, None] - small
    faint = torch.clamp(4 * spread, min=_FAINT)[:, None, None]
    mask = ((difference.abs().amax(1) - faint) / (_CLEAR - _FAINT)).clamp(0, 1)
    center, radius = _moments(mask)
    channels = torch.cat((difference, _SILHOUETTE_WEIGHT * mask[:, None], torch.ones_like(mask)[:, None]), dim=1)
    polar = _polar(channels, center, radius)
    inside = (polar[:, CHANNELS] > 0.5).float()
    area = torch.sqrt((torch.arange(RADII, device=images.device) + 0.5) / RADII)
    focal, middle = (x.to(images.device) for x in reduced[1:])
    size = radius / focal.prod(1).sqrt()
    return Thumbnails(polar[:, :CHANNELS] * area[:, None], inside, (center - middle) / focal, size, background)


def _moments(mask: Float[Tensor, "n h w"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Centroid (x, y) and rms radius in pixels; the middle and a sixth of the frame where there is no object."""
    n, height, width = mask.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=mask.device) + 0.5, torch.arange(width, device=mask.device) + 0.5, indexing="ij"
    )
    mass = mask.sum((1, 2))
    empty = mass < 1
    safe = mass.clamp_min(1)
    cx, cy = (mask * x).sum((1, 2)) / safe, (mask * y).sum((1, 2)) / safe
    square = (mask * ((x - cx[:, None, None]) ** 2 + (y - cy[:, None, None]) ** 2)).sum((1, 2)) / safe
    cx = torch.where(empty, torch.full_like(cx, width / 2), cx)
    cy = torch.where(empty, torch.full_like(cy, height / 2), cy)
    radius = torch.where(empty, torch.full_like(square, max(height, width) / 6), square.sqrt())
    return torch.stack((cx, cy), dim=1), radius.clamp_min(1.0)


def _polar(
    channels: Float[Tensor, "n c h w"], center: Float[Tensor, "n 2"], radius: Float[Tensor, "n"]
) -> Float[Tensor, "n c r a"]:
    """The channels sampled on rings about the center; angles run from x (right) to y (down); zero outside the frame."""
    height, width = channels.shape[2:]
    angle = torch.arange(ANGLES, device=channels.device) * (2 * math.pi / ANGLES)
    ring = (torch.arange(RADII, device=channels.device) + 0.5) * (EXTENT / RADII)
    unit = torch.stack((angle.cos(), angle.sin()), dim=-1)
    offset = ring[:, None, None] * unit[None]
    points = center[:, None, None] + radius[:, None, None, None] * offset
    grid = torch.stack((2 * points[..., 0] / width - 1, 2 * points[..., 1] / height - 1), dim=-1)
    return F.grid_sample(channels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
