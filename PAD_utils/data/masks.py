"""Ground truth masks, and picture files that other programs made."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gaussian_splatting.images import read_pixels
from PAD_utils.errors import UserError


def read_mask(path: str | Path) -> Bool[np.ndarray, "h w"]:
    """A ground truth mask: any value above 0, in any channel, is anomalous. Raises UserError, naming the file."""
    picture = read_foreign_pixels(path)
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture = picture[:, :, :3]  # an alpha of 255 everywhere marks nothing
    return picture != 0 if picture.ndim == 2 else (picture != 0).any(axis=2)


def read_foreign_pixels(path: str | Path) -> np.ndarray:
    """As `read_pixels`, with UserError, which names the file and the mend, for a file that cannot be read."""
    try:
        return read_pixels(Path(path))
    except ValueError as error:
        raise UserError(f"{error}; fetch or make it again") from None
