"""Where the part is in each photograph: masks of the user, the pictures' alpha, a plain backdrop, or a cut-out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaussian_splatting.images import PICTURE_SUFFIXES
from gaussian_splatting.parallel import parallel
from PAD_utils.data.mad import resize_mask
from PAD_utils.data.masks import read_mask
from PAD_utils.errors import UserError
from PAD_utils.files import write_bytes
from PAD_utils.photos.backdrop import measure_backdrop
from PAD_utils.photos.cutout import cut_out, enlarged, learned_colors, odd_ones
from PAD_utils.photos.shot import Shot
from PAD_utils.photos.source import Photo, png_bytes

_MASK_GROWTH = 0.01  # of the longer side
BACKGROUNDS = ("auto", "keep", "cut")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Background:
    """The alpha of every shot, full size, or none at all; what was done, in words; what went wrong with it; and the
    color models by which queries are cut out too, where the part was."""

    description: str
    alphas: list[UInt8[np.ndarray, "h w"]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    colors: list[list[float]] = field(default_factory=list)


def find_background(
    shots: Sequence[Shot], points: Float[np.ndarray, "n 3"], how: str, masks: Path | None
) -> Background:
    """As `how` says; "auto" keeps a plain backdrop and cuts the part out of any other.

    points: of structure from motion, in the world of the shots. Raises UserError for a mask that is missing or broken.
    """
    if masks is not None:
        alphas = parallel(lambda shot: _user_mask(masks, shot), shots)
        small = [resize_mask(a > 0, *s.small.shape[1::-1]) for a, s in zip(alphas, shots, strict=True)]
        return Background(f"masks of {masks}", alphas, colors=learned_colors([shot.small for shot in shots], small))
    if any(shot.posed.photo.has_alpha for shot in shots):
        return Background("alpha of the photographs")
    backdrop = measure_backdrop([shot.small for shot in shots])
    if how == "keep" or (how == "auto" and backdrop.is_plain):
        return Background(f"kept as it is: {backdrop.description}")
    cut = cut_out([s.small for s in shots], [s.camera.resized(*s.small.shape[1::-1]) for s in shots], points)
    if not cut.holds:
        complaint = "The part could not be cut out of its surroundings: give --masks, or use a backdrop of one color."
        return Background(f"kept as it is, the cut-out failed: {backdrop.description}", [], [complaint])
    odd = odd_ones([shot.name for shot in shots], cut)
    complaints = [f"Look at the cut-out of {', '.join(odd)}: it disagrees with the other views."] if odd else []
    alphas = [enlarged(mask, s.camera.width, s.camera.height) for mask, s in zip(cut.masks, shots, strict=True)]
    return Background(f"cut out ({cut.how}): {backdrop.description}", alphas, complaints, cut.colors)


def find_mask(folder: Path, name: str) -> Path:
    """The mask of a photograph: <name>.png or <name>_mask.png, any format. Raises UserError when there is none."""
    for suffix in sorted(PICTURE_SUFFIXES):
        for candidate in (folder / f"{name}{suffix}", folder / f"{name}_mask{suffix}"):
            if candidate.is_file():
                return candidate
    raise UserError(f"{folder / name}.png is missing; every photograph needs a mask, white on the part")


def mask_at_size(path: Path, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """A mask at the size of the working copy. Raises UserError when it has another shape."""
    mask = read_mask(path)
    if abs(mask.shape[1] / mask.shape[0] * height / width - 1) > 0.01:
        raise UserError(f"{path} is {mask.shape[1]}x{mask.shape[0]} pixels; its photograph has another shape")
    return mask if mask.shape == (height, width) else resize_mask(mask, width, height)


def copy_masks(folder: Path, photos: Sequence[Photo], target: Path) -> Path:
    """The user's masks at the size of the working copies, each as `target`/<key of photo>.png, grown by a little, for
    features lie on the outline too. Raises UserError for a mask that is missing or broken."""

    def write(photo: Photo) -> None:
        mask = mask_at_size(find_mask(folder, photo.name), photo.width, photo.height).astype(np.uint8)
        side = 2 * round(_MASK_GROWTH * max(photo.width, photo.height)) + 1
        write_bytes(target / f"{photo.key}.png", png_bytes(255 * cv2.dilate(mask, np.ones((side, side), np.uint8))))

    parallel(write, photos)
    return target


def _user_mask(folder: Path, shot: Shot) -> UInt8[np.ndarray, "h w"]:
    photo = shot.posed.photo
    mask = mask_at_size(find_mask(folder, photo.name), photo.width, photo.height)
    return shot.posed.lens.undistorted(255 * mask.astype(np.uint8), nearest=True)
