"""Reading pictures: any usual format, upright, white behind what is transparent; and the resolution rule."""

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

PICTURE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".avif", ".heic", ".heif")
)
# Named, so that no file can start a program: Pillow would hand EPS to Ghostscript.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
_HEIF_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1")
_PNG_START, _PNG_END, _PNG_RGB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82", 2
_PNG_HEAD = 33  # bytes, to the end of the first chunk
_PNG_EXTRAS = (b"eXIf", b"tRNS", b"acTL", b"iCCP")  # turned, transparent, animated, and what libpng comments on
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")  # 16 bits a pixel, gray; Pillow has no such color
_DIVISORS = (1, 2, 4, 8)  # a resolution of 1, 2, 4 or 8 divides, a larger one is a width in pixels (the rule of 3DGS)


def encoded(suffix: str, pixels: np.ndarray, options: Sequence[int] = ()) -> bytes:
    """The bytes of a picture file of OpenCV's, BGR. Raises MemoryError where OpenCV fails: our pictures lack nothing
    else, and it says no more than that it failed."""
    done, content = cv2.imencode(suffix, np.ascontiguousarray(pixels), list(options))
    if not done:
        raise MemoryError(f"OpenCV found none to encode a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels")
    return content.tobytes()


def read_image(path: Path, resolution: int | None = None) -> UInt8[Tensor, "h w 3"]:
    """A picture as RGB, upright, transparency composited on white, resampled with an area filter to `resolution`.

    Of 16 bits a channel the upper 8 are kept. Raises ValueError as `open_picture`, and on a picture of floats.
    """
    data = _content(path)
    picture = _plain_png(data)
    if picture is None:
        picture = np.array(_rgb(path, _decode(path, data)))
    width, height = target_size(picture.shape[1], picture.shape[0], resolution)
    return torch.from_numpy(area_resize(picture, width, height))


def plain_png_size(file: io.BufferedIOBase) -> tuple[int, int] | None:
    """(width, height) of an open PNG in RGB of 8 bits that nothing turns, animates or makes transparent; None of all
    else. Its chunks are walked through and not read.

    Most pictures of a class are such files, and for them Pillow need not be asked.
    """
    head = file.read(_PNG_HEAD)
    if len(head) < _PNG_HEAD or not head.startswith(_PNG_START):
        return None
    width, height, depth, kind = struct.unpack(">IIBB", head[len(_PNG_START) : len(_PNG_START) + 10])
    if not (width and height and (depth, kind) == (8, _PNG_RGB)):
        return None
    while len(chunk := file.read(8)) == 8 and (name := chunk[4:]) != b"IEND":
        if name in _PNG_EXTRAS:
            return None
        file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)  # its content and its check sum
    return width, height


def is_plain_png(path: Path) -> bool:
    """Whether a file is a PNG in RGB of 8 bits and nothing else. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return plain_png_size(file) is not None


def read_exif(path: Path, picture: Image.Image) -> Image.Exif:
    """The EXIF tags of an opened picture. A PNG may carry them behind its pixels, and then Pillow decodes it whole to
    find them: only where there are any."""
    if picture.format == "PNG" and b"eXIf" not in path.read_bytes():
        return Image.Exif()
    return picture.getexif()


def read_uncut(path: Path) -> UInt8[Tensor, "h w 4"] | None:
    """The photograph that a cut-out was made of, with the alpha that its file still holds it below: RGBA, upright.

    None where nothing is cut out, or where nothing but one color is left of what was. Raises ValueError as
    `open_picture`.
    """
    try:
        if is_plain_png(path):
            return None
        with Image.open(path, formats=_FORMATS) as picture:
            if not picture.has_transparency_data:
                return None
    except (OSError, ValueError, SyntaxError):  # another format, or no picture: `read_image` says so
        return None
    pixels = np.array(open_picture(path).convert("RGBA"))
    hidden = pixels[..., :3][pixels[..., 3] == 0]
    if len(hidden) == 0 or (hidden == hidden[0]).all():
        return None
    return torch.from_numpy(pixels)


def open_picture(path: Path) -> Image.Image:
    """A picture file of the formats of `PICTURE_SUFFIXES`, decoded whole and turned upright by its EXIF orientation.

    What follows the picture in its file (trailers of phones) is ignored. Raises ValueError naming the file if it is
    missing, truncated or no picture, or if it is HEIC and pillow-heif is not installed.
    """
    return _decode(path, _content(path))


def read_header(data: bytes, name: Path) -> tuple[str, int, int]:
    """(format, width, height) that the first bytes of a picture file tell, before EXIF turns it; nothing is decoded.

    Raises ValueError, naming the file, as `open_picture`; what is cut short later on is not noticed.
    """
    formats = _with_heif(name) if data[4:12] in _HEIF_BRANDS else _FORMATS
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            return str(picture.format), *picture.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: has more pixels than a picture may have ({error}); make it smaller") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on bytes that are no picture
        raise ValueError(f"{name}: no picture of a format that is read (PNG, JPEG, WebP, BMP, TIFF, HEIC)") from error


def target_size(width: int, height: int, resolution: int | None) -> tuple[int, int]:
    """(width, height) asked for by `resolution`: None as it is, 1, 2, 4 or 8 a divisor, larger a width in pixels."""
    if resolution is None or resolution == 1:
        return width, height
    if resolution in _DIVISORS:
        return max(1, round(width / resolution)), max(1, round(height / resolution))
    if resolution < _DIVISORS[-1]:
        raise ValueError(f"resolution must be 1, 2, 4, 8 or a width in pixels above 8, got {resolution}")
    return resolution, max(1, round(height * resolution / width))


def area_resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture (h, w, c) uint8 resampled by averaging areas; larger than it is, by linear interpolation."""
    if image.shape[:2] == (height, width):
        return image
    smaller = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error


def _plain_png(data: bytes) -> np.ndarray | None:
    """A whole PNG in RGB of 8 bits through OpenCV, in two thirds of Pillow's time; None of everything else."""
    size = plain_png_size(io.BytesIO(data))
    if size is None or not data.endswith(_PNG_END) or size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or 0):
        return None
    if not _has_whole_chunks(data):
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # None where a check sum is wrong


def _has_whole_chunks(data: bytes) -> bool:
    """Whether the lengths of a PNG's chunks add up to the file. OpenCV takes memory for whatever they say."""
    at = 8
    while at + 12 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return at == len(data)


def _decode(path: Path, data: bytes) -> Image.Image:
    formats = _with_heif(path) if data[4:12] in _HEIF_BRANDS else _FORMATS
    try:
        content = io.BytesIO(data)
        picture = Image.open(content, formats=formats)
        if picture.format == "PNG":  # its decoder stops at the last pixel; this looks at the sums and the end marker
            picture.verify()
            picture = Image.open(content, formats=("PNG",))
        ImageOps.exif_transpose(picture, in_place=True)  # decodes; without an orientation nothing is copied
        return picture
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: has more pixels than a picture may have ({error}); make it smaller") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on bytes that are no picture
        raise ValueError(f"{path}: not a complete picture; it is cut short or of another format") from error


def _with_heif(path: Path) -> tuple[str, ...]:
    try:
        import pillow_heif
    except ImportError:
        raise ValueError(f"{path}: HEIC needs pillow-heif; pip install pillow-heif, or save it as JPEG") from None
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _rgb(path: Path, picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise ValueError(f"{path}: its values are floats; save the picture with 8 or 16 bits a channel")
    if picture.mode in _DEEP_MODES:
        levels = np.asarray(picture)
        if levels.size and not 0 <= levels.min() <= levels.max() < 1 << 16:
            raise ValueError(f"{path}: its values take more than 16 bits; save it with 8 or 16 bits a channel")
        picture = Image.fromarray((levels >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        return white
    return picture if picture.mode == "RGB" else picture.convert("RGB")
