"""Photographs as the user has them: found, read upright, and copied at working size. The source is only read."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gaussian_splatting.images import PICTURE_SUFFIXES, area_resize, encoded, open_picture
from gaussian_splatting.parallel import parallel
from PAD_utils.data.layout import natural_key
from PAD_utils.errors import UserError
from PAD_utils.files import write_bytes

SMALL_PX = 400  # the longest side of the copies that are measured and cut out
_EXIF_IFD, _FOCAL_35MM = 0x8769, 0xA405  # where EXIF keeps the focal length of a 36 mm wide sensor
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """A photograph: its source, and its upright copy at working size in a folder named by that size."""

    name: str
    source: Path
    copy: Path
    width: int
    height: int
    focal_px: float | None  # as EXIF says, at working size
    has_alpha: bool

    @property
    def key(self) -> str:
        """The name within the folder of the copies: "<width>x<height>/<name>.png"."""
        return f"{self.copy.parent.name}/{self.copy.name}"

    def pixels(self) -> UInt8[np.ndarray, "h w c"]:
        """The copy: BGR, or BGRA where the source has an alpha channel."""
        return read_color(self.copy)


def find_photos(folder: Path) -> list[Path]:
    """The photographs of a folder in natural order. Raises UserError: none there, or two of one name."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the photographs")
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
    paths = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]
    unread = [p.name for p in files if p not in paths and not p.name.startswith(".")]
    if unread:
        _log.warning("%s: %d files are not used (%s)", folder, len(unread), ", ".join(unread[:5]))
    if not paths:
        raise UserError(f"{folder} holds no pictures; give the folder that holds the photographs")
    names: dict[str, Path] = {}
    for path in paths:
        if path.stem in names:
            raise UserError(f"{names[path.stem]} and {path} have one name; remove or rename one of them")
        names[path.stem] = path
    return paths


def copy_photos(paths: Sequence[Path], folder: Path, longest_px: int, raw: bool = False) -> list[Photo]:
    """Copies into `folder/<size>/` as PNG, upright, at most `longest_px` long; a copy that is there is kept.

    raw: as the file stores it, EXIF orientation left out, which is how COLMAP sees a picture.
    Raises UserError naming a photograph that cannot be read.
    """
    return parallel(lambda path: _copied(path, folder, longest_px, raw), paths)


def read_color(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """A picture, upright, as BGR, or as BGRA where something is transparent. Raises UserError naming the file."""
    try:
        picture = open_picture(path)
    except ValueError as error:
        raise UserError(f"{error}; take it again or remove it") from None
    if picture.mode == "F":
        raise UserError(f"{path}: its values are floats; save the picture with 8 or 16 bits a channel")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        return np.ascontiguousarray(np.asarray(picture.convert("RGBA"))[..., [2, 1, 0, 3]])
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])


def _read_stored(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """A picture as its file stores it, EXIF orientation left out. Raises UserError naming the file."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise UserError(f"{path} is no picture that COLMAP reads; save it as JPEG or PNG")
    return pixels


def png_bytes(pixels: np.ndarray) -> bytes:
    """A PNG file; the fast compression, since these files are large and read often."""
    return encoded(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def fingerprint(paths: Sequence[Path], options: str) -> str:
    """Changes when a file or an option does: names, sizes and times of the files, and the options as text."""
    digest = hashlib.sha256(options.encode())
    for path in paths:
        facts = path.stat()
        digest.update(f"\0{path.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _copied(path: Path, folder: Path, longest_px: int, raw: bool) -> Photo:
    pixels = _read_stored(path) if raw else read_color(path)
    height, width = pixels.shape[:2]
    scale = min(1.0, longest_px / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    copy = folder / f"{size[0]}x{size[1]}" / f"{path.stem}.png"
    if not copy.is_file():
        write_bytes(copy, png_bytes(area_resize(pixels, *size)))
    has_alpha = pixels.shape[2] == 4 and bool((pixels[..., 3] < 255).any())
    return Photo(path.stem, path, copy, *size, _exif_focal_px(path, max(size)), has_alpha)


def _exif_focal_px(path: Path, longest_px: int) -> float | None:
    """The focal length in pixels of a picture `longest_px` long, or None where EXIF does not say."""
    try:
        with Image.open(path) as picture:
            focal_mm = picture.getexif().get_ifd(_EXIF_IFD).get(_FOCAL_35MM)
    except (OSError, ValueError, SyntaxError):  # Pillow's errors for a format or a header that it does not know
        return None
    return float(focal_mm) * longest_px / 36 if focal_mm else None
