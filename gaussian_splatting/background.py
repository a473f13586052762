"""The plain backdrop behind an object: its color measured along the border of the pictures, and what is object.

Nothing here assumes white. A backdrop has a color and a tolerance: how far its pixels stray from that color (a fold of
a cloth, its shine, a shadow). `flattened` takes that away and leaves colors far from the backdrop as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Color = tuple[float, float, float]

_CLEAN = 4  # gray levels: JPEG and resampling move a clean backdrop by no more
_STRAY_SHARE = 0.96  # of the border: the rest may be object that leaves the picture
_WIDEST = 44  # gray levels: a border that strays further shows more than one plain backdrop
_PLAIN_SHARE = 0.8  # of the border must lie within the tolerance, or there is no plain backdrop
_OTHER = 90  # gray levels: a border this far from the usual color shows the object, not another exposure
_FADE = 4.0  # tolerances over which the flattening fades out: colors further away are left as they are


@dataclass(frozen=True)
class Backdrop:
    """The color of a plain backdrop in [0, 1], how far its pixels may stray from it in any channel (in [0, 1], 0 for a
    clean one), and which share of the border's pixels lies within that tolerance."""

    color: Color
    tolerance: float = 0.0
    plain: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether the border shows one backdrop at all."""
        return self.plain >= _PLAIN_SHARE

    @property
    def levels(self) -> Float[np.ndarray, "3"]:
        """The color in gray levels, 0 to 255."""
        return np.asarray(self.color, np.float32) * 255


WHITE_BACKDROP = Backdrop((1.0, 1.0, 1.0))


def border(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "n 3"]:
    """The outermost pixels of a picture."""
    return np.concatenate((image[0], image[-1], image[1:-1, 0], image[1:-1, -1]))


def measured_backdrop(images: Sequence[UInt8[Tensor, "h w 3"]]) -> Backdrop:
    """The backdrop of pictures of one object: the median of the pictures' own border colors, and the tolerance that
    takes in 96 % of all border pixels, each measured from its own picture's color; 0 where that is hardly any.

    Raises ValueError if there are no pictures.
    """
    if not images:
        raise ValueError("a backdrop is measured on at least one picture")
    colors, strays = zip(*(_own_color_and_stray(image.numpy()) for image in images), strict=True)
    color = np.median(np.stack(colors), axis=0) / 255
    stray = np.concatenate(strays)
    levels = min(float(np.quantile(stray, _STRAY_SHARE)), float(_WIDEST))
    plain = float((stray <= max(levels, _CLEAN)).mean())
    tolerance = levels / 255 if levels > _CLEAN else 0.0
    return Backdrop((float(color[0]), float(color[1]), float(color[2])), tolerance, plain)


def own_color(image: UInt8[Tensor, "h w 3"]) -> Float[np.ndarray, "3"]:
    """The color of one picture's border in gray levels: the median of each channel."""
    return np.median(border(image.numpy()), axis=0).astype(np.float32)


def _own_color_and_stray(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = border(image)
    if (pixels == pixels[0]).all():  # as of every rendering; medians of so many numbers take long
        return pixels[0].astype(np.float32), np.zeros(len(pixels), np.float32)
    pixels = pixels.astype(np.float32)
    color = np.median(pixels, axis=0)
    return color, np.abs(pixels - color).max(axis=1)


def flattened(image: UInt8[Tensor, "h w 3"], tolerance: float) -> UInt8[Tensor, "h w 3"]:
    """The picture with all that is within `tolerance` (in [0, 1]) of its own border's color made that color.

    Differences beyond are shortened by the tolerance, ever less up to five tolerances, and then left as they are. That
    is one continuous function of a pixel's color: views agree on it, and a shadow on the object gets no hard outline.
    """
    if tolerance <= 0:
        return image
    pixels, color, limit = image.numpy().astype(np.float32), own_color(image), 255 * tolerance
    away = pixels - color
    far = np.abs(away).max(axis=2, keepdims=True)
    shortened = far - limit * (1 - np.clip((far - limit) / (_FADE * limit), 0, 1))
    scale = np.where(far > limit, shortened / np.maximum(far, 1e-6), 0)
    return torch.from_numpy((color + scale * away).round().clip(0, 255).astype(np.uint8))


def object_mask(image: UInt8[np.ndarray, "h w 3"], backdrop: Backdrop) -> Bool[np.ndarray, "h w"]:
    """Everything but the backdrop that is connected to the border: parts of its color inside the object stay object.

    The picture's own border color counts, for exposures differ; the usual one where the object hides the border.
    """
    color = own_color(torch.from_numpy(image))
    if np.abs(color - backdrop.levels).max() > _OTHER:
        color = backdrop.levels
    limit = max(255 * backdrop.tolerance, _CLEAN + 1)
    low, high = np.ceil(color - limit).clip(0, 255), np.floor(color + limit).clip(0, 255)
    same = cv2.inRange(image, low.astype(np.uint8), high.astype(np.uint8))
    framed = cv2.copyMakeBorder(same, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=255)
    cv2.floodFill(framed, None, (0, 0), 1)
    return framed[1:-1, 1:-1] != 1
