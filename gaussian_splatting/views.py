"""Posed pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import read_images


@dataclass(frozen=True)
class View:
    """A picture, on the CPU, with the camera that took it; a transparent background has become white."""

    name: str
    camera: Camera
    image: UInt8[Tensor, "h w 3"]


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
