"""Reading pictures: decoding in parallel, white behind what is transparent, the resolution rule."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

_DIVISORS = (1, 2, 4, 8)  # a resolution of 1, 2, 4 or 8 divides, a larger one is a width in pixels (the rule of 3DGS)


def read_image(path: Path, resolution: int | None = None) -> UInt8[Tensor, "h w 3"]:
    """A PNG, JPEG or WebP as RGB, transparency composited on white, resampled with an area filter to `resolution`.

    Raises ValueError as `read_pixels`, and on a picture of floats.
    """
    picture = read_pixels(path)
    if picture.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: its values are {picture.dtype}; save the picture with 8 or 16 bits a channel")
    width, height = target_size(picture.shape[1], picture.shape[0], resolution)
    return torch.from_numpy(area_resize(_on_white(_eight_bits(picture)), width, height))


def read_pixels(path: Path) -> np.ndarray:
    """A picture file as OpenCV decodes it: (h, w) or (h, w, BGR or BGRA), in the type of its values.

    Raises ValueError naming the file if it is missing, truncated or no picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size and _is_complete(data) else None
    if picture is None:
        raise ValueError(f"{path}: not a complete picture; it is cut short or of another format")
    return picture


def read_images(paths: Sequence[Path], resolution: int | None = None) -> list[UInt8[Tensor, "h w 3"]]:
    """`read_image` for many files, in parallel; the result is in the order of `paths`."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: read_image(path, resolution), paths))


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


def _is_complete(data: np.ndarray) -> bool:
    """Whether the end marker is there: decoders return half a picture for half a file."""
    head, tail = data[:4].tobytes(), data[-64:].tobytes()
    if head == b"\x89PNG":
        return b"IEND" in tail
    if head[:2] == b"\xff\xd8":
        return b"\xff\xd9" in tail
    return True


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint16:
        return (picture >> 8).astype(np.uint8)
    return picture


def _on_white(picture: np.ndarray) -> np.ndarray:
    """BGR(A) or gray to RGB, composited on white."""
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if picture.shape[2] == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    color = cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB).astype(np.uint16)
    alpha = picture[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
