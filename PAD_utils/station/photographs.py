"""What clients send, made into photographs, or refused in one line before it can do harm."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gaussian_splatting.images import read_header
from PAD_utils.files import explaining, write_bytes
from PAD_utils.station.models import Models
from PAD_utils.station.parts import Photograph, RefusedError
from PAD_utils.station.settings import Limits

_LONGEST_NAME = 100  # characters
_LEAST_SIDE, _MOST_ASPECT = 32, 6  # pixels, and longer over shorter side, outside of which no pose could be found


@dataclass(frozen=True)
class Upload:
    """A file as it came, with the name that its sender gave it, and what its first bytes say of it."""

    name: str
    content: bytes
    format: str
    width: int  # as stored, before EXIF turns it
    height: int


def check_upload(name: str | None, content: bytes, limits: Limits) -> Upload:
    """A file that may be decoded. Raises RefusedError when it is too large, or no picture."""
    shown = display_name(name)
    if len(content) > limits.picture_bytes:
        raise RefusedError(413, f"{shown}: larger than {limits.picture_bytes >> 20} MB; send a smaller file")
    try:
        kind, width, height = read_header(content, Path(shown))
    except ValueError as error:
        raise RefusedError(415, str(error)) from None
    if width * height > limits.picture_pixels:
        most = limits.picture_pixels // 1_000_000
        raise RefusedError(413, f"{shown}: has {width}x{height} pixels; up to {most} megapixels are taken")
    if min(width, height) < _LEAST_SIDE or max(width, height) > _MOST_ASPECT * min(width, height):
        raise RefusedError(422, f"{shown}: {width}x{height} pixels are no photograph of a part")
    return Upload(shown, content, kind, width, height)


def display_name(name: str | None) -> str:
    """A name that may be shown and logged: one short line, without folders. It is never used as one of a file."""
    base = re.split(r"[/\\]", name or "")[-1]
    return "".join(c if c.isprintable() else "?" for c in base)[:_LONGEST_NAME] or "picture"


def take_photographs(
    uploads: Sequence[Upload], folder: Path, models: Models, classes: Sequence[str]
) -> list[Photograph]:
    """Decodes files, and keeps them in `folder` under names of our own. Raises RefusedError, and leaves nothing, when
    one is cut short; UserError when the disk is full."""
    try:
        return [_take(upload, folder / original_name(i, upload), models, classes) for i, upload in enumerate(uploads)]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def original_name(index: int, upload: Upload) -> str:
    """The name that we keep a file by."""
    return f"{index}_original.{upload.format.lower()}"


def _take(upload: Upload, path: Path, models: Models, classes: Sequence[str]) -> Photograph:
    with explaining(path):
        write_bytes(path, upload.content)
    try:
        taken = {name: models.served[name].inspector.take(path, models.served[name].longest_px) for name in classes}
    except ValueError as error:
        raise RefusedError(422, str(error).replace(str(path), upload.name)) from None
    height, width = taken[classes[0]].image.shape[:2]
    turned = (width - height) * (upload.width - upload.height) < 0  # by its EXIF orientation
    size = (upload.height, upload.width) if turned else (upload.width, upload.height)
    return Photograph(upload.name, *size, taken)
