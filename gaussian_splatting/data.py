"""Posed pictures: decoding in parallel, white backgrounds, the resolution rule, and NeRF-synthetic folders."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera

_DIVISORS = (1, 2, 4, 8)  # a resolution of 1, 2, 4 or 8 divides, a larger one is a width in pixels (the rule of 3DGS)


@dataclass(frozen=True)
class View:
    """A picture, on the CPU, with the camera that took it; a transparent background has become white."""

    name: str
    camera: Camera
    image: UInt8[Tensor, "h w 3"]


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


def load_blender_views(folder: Path, transforms_name: str, resolution: int | None = None) -> list[View]:
    """The views that `folder/transforms_name` (NeRF-synthetic layout) names, in its order.

    Raises ValueError naming the file and what is wrong: no JSON, a missing key or picture, a pose that is not rigid,
    pictures of different sizes, or a size that contradicts `w` and `h`.
    """
    path = Path(folder) / transforms_name
    try:
        layout = json.loads(path.read_text())
        angle = float(layout["camera_angle_x"])
        poses = {str(frame["file_path"]): frame["transform_matrix"] for frame in layout["frames"]}
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a Blender transforms file ({type(error).__name__}: {error})") from error
    if not poses:
        raise ValueError(f"{path}: names no pictures")
    files = [picture_path(path.parent, name) for name in poses]
    images = read_images(files, resolution)
    views = []
    for file, image, (name, matrix) in zip(files, images, poses.items(), strict=True):
        pose = torch.as_tensor(matrix, dtype=torch.float64)
        if tuple(pose.shape) != (4, 4):
            raise ValueError(f"{path}: the pose of {name} has shape {tuple(pose.shape)}, expected (4, 4)")
        height, width = image.shape[:2]
        views.append(View(file.stem, Camera.from_blender(pose, angle, width, height, f"{path}, {name}"), image))
    check_sizes(views)
    if resolution is None and "w" in layout and "h" in layout:
        expected = (int(layout["w"]), int(layout["h"]))
        got = (views[0].camera.width, views[0].camera.height)
        if got != expected:
            raise ValueError(f"{path}: says {expected[0]}x{expected[1]} pixels, but {files[0]} has {got[0]}x{got[1]}")
    return views


def picture_path(folder: Path, name: str) -> Path:
    """The file that a frame's `file_path` names; NeRF-synthetic leaves ".png" out, others write it."""
    path = folder / name
    if path.is_file():
        return path
    return path if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") else path.with_name(path.name + ".png")


def check_sizes(views: Sequence[View]) -> None:
    """Raises ValueError naming the first view whose picture is not the size of the first, or not that of its camera."""
    for view in views:
        size, first = tuple(view.image.shape[:2]), tuple(views[0].image.shape[:2])
        if size != first or size != (view.camera.height, view.camera.width):
            raise ValueError(
                f"{view.name}: the picture is {size[1]}x{size[0]} pixels, expected {first[1]}x{first[0]}; "
                "all pictures of one object must have one size"
            )


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
    """BGR(A) or grey to RGB, composited on white."""
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if picture.shape[2] == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    color = cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB).astype(np.uint16)
    alpha = picture[..., 3:].astype(np.uint16)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
