"""What surrounds the part: a backdrop of one color is measured along the borders of the photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

_BORDER_SHARE = 0.03  # of the shorter side: the width of the border that is looked at
_TOLERANCE = 26  # gray levels by which light, folds and noise change a plain backdrop
_PLAIN_SHARE = 0.85  # of the border of a photograph; the part or its stand may reach over the rest
_PLAIN_PHOTOS = 0.8  # of the photographs


@dataclass(frozen=True)
class Backdrop:
    """The color of the backdrop, RGB, and the share of the borders that is within `_TOLERANCE` of it."""

    color: tuple[int, int, int]
    share: float
    is_plain: bool

    @property
    def description(self) -> str:
        """For the report."""
        if self.is_plain:
            return f"one color, RGB {self.color}, on {100 * self.share:.0f} % of the borders"
        return f"no single color (RGB {self.color} covers {100 * self.share:.0f} % of the borders)"


def measure_backdrop(pictures: Sequence[UInt8[np.ndarray, "h w c"]]) -> Backdrop:
    """Of BGR pictures, each against its own median: exposure may change between them."""
    medians, shares = zip(*(_border_facts(picture) for picture in pictures), strict=True)
    blue, green, red = np.median(medians, axis=0).round().astype(int).tolist()
    plain = np.mean([share >= _PLAIN_SHARE for share in shares]) >= _PLAIN_PHOTOS
    return Backdrop((red, green, blue), float(np.median(shares)), bool(plain))


def _border_facts(picture: UInt8[np.ndarray, "h w c"]) -> tuple[np.ndarray, float]:
    """The median color of a picture's border, and the share of the border near it."""
    width = max(2, round(_BORDER_SHARE * min(picture.shape[:2])))
    inner = np.ones(picture.shape[:2], bool)
    inner[width:-width, width:-width] = False
    border = picture[inner][:, :3].astype(int)
    median = np.median(border, axis=0)
    return median, float((np.abs(border - median).max(1) <= _TOLERANCE).mean())
