"""Ground truth masks."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gaussian_splatting.images import open_picture
from PAD_utils.errors import UserError

_LOSSY = {"JPEG", "MPO"}  # around an edge their values ring
_HALF = 128


def read_mask(path: str | Path) -> Bool[np.ndarray, "h w"]:
    """A ground truth mask, upright as the picture it belongs to: any value above 0, in any channel, is anomalous.

    Of a JPEG, values of 128 and more. Where all pixels have one color and the alpha channel varies, alpha is the mask.
    Raises UserError, naming the file.
    """
    try:
        picture = open_picture(Path(path))
    except ValueError as error:
        raise UserError(f"{error}; fetch or make it again") from None
    least = _HALF if picture.format in _LOSSY else 1
    if picture.mode == "P" or picture.has_transparency_data:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("1", "L", "F", "I") and not picture.mode.startswith("I;16"):
        picture = picture.convert("RGB")
    levels = np.asarray(picture)
    if levels.ndim == 2:
        return levels >= least
    color, alpha = levels[..., :3], levels[..., 3:]
    if alpha.size and (color == color[:1, :1]).all() and (alpha != alpha[:1, :1]).any():
        color = alpha  # otherwise an alpha of 255 everywhere marks nothing
    return np.maximum.reduce([color[..., i] for i in range(color.shape[2])]) >= least
