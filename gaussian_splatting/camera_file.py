"""Cameras of a transforms.json, for rendering: poses in Blender axes, lenses by the keys of nerfstudio."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from gaussian_splatting.camera import Camera

log = logging.getLogger(__name__)

_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic")


def read_cameras(path: Path, size: tuple[int, int] | None = None) -> dict[str, Camera]:
    """The cameras of a transforms file by `file_path`, without leading dots and the ending of a picture's name.

    size: width and height in pixels; None: the keys w and h. Pictures are rendered without a lens' distortion, which is
    said. Raises ValueError, naming the file, for what is missing or wrong in it.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        frames = [(_plain(str(frame["file_path"])), frame) for frame in content["frames"]]
        cameras = {name: _camera(name, {**content, **frame}, size) for name, frame in frames}
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise ValueError(f"{path} lacks the key {error}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no transforms file that can be used: {error}") from None
    if not cameras:
        raise ValueError(f"{path} holds no frame")
    if len(cameras) < len(frames):
        raise ValueError(f"{path}: {len(frames) - len(cameras)} frames have the name of another one")
    distorted = sorted({key for _, frame in frames for key in _DISTORTION if {**content, **frame}.get(key)})
    if distorted:
        log.warning("%s: pictures are rendered without the lens' distortion (%s)", path, ", ".join(distorted))
    return cameras


def _plain(file_path: str) -> str:
    """A name that stays below the folder it is written to."""
    parts = [part for part in PurePosixPath(file_path.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    name = "/".join(part.replace(":", "_") for part in parts)
    stem, dot, ending = name.rpartition(".")
    name = stem if dot and f".{ending.lower()}" in _PICTURES else name
    if not name:
        raise ValueError(f"file_path {file_path!r} names no picture")
    return name


def _camera(name: str, keys: Mapping[str, Any], size: tuple[int, int] | None) -> Camera:
    if keys.get("is_fisheye") or "FISHEYE" in str(keys.get("camera_model", "")).upper():
        raise ValueError(f"{name} has a fisheye lens; only perspective lenses can be rendered")
    if "w" in keys and "h" in keys:
        width, height = int(keys["w"]), int(keys["h"])
    elif size is None:
        raise ValueError("it says no picture size (w, h); give one with --size WIDTH HEIGHT")
    else:
        width, height = size
    fx = _focal(keys, "fl_x", "camera_angle_x", width)
    fy = _focal(keys, "fl_y", "camera_angle_y", height)
    if fx is None and fy is None:
        raise KeyError("camera_angle_x")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = float(keys.get("cx", width / 2)), float(keys.get("cy", height / 2))
    if not (width > 0 and height > 0 and 0 < fx < math.inf and 0 < fy < math.inf):
        raise ValueError(f"{name}: picture size and focal length must be above 0")
    rows = torch.as_tensor(keys["transform_matrix"], dtype=torch.float64)
    if tuple(rows.shape) == (3, 4):
        rows = torch.cat((rows, rows.new_tensor([[0, 0, 0, 1]])))
    if tuple(rows.shape) != (4, 4):
        raise ValueError(f"the pose of {name} is {tuple(rows.shape)} in shape, not (4, 4)")
    blank = Camera(width, height, fx, fy, cx, cy, torch.eye(4, dtype=torch.float64))
    camera = blank.at_blender(rows, f"the pose of {name}")
    return camera if size is None else camera.resized(*size)


def _focal(keys: Mapping[str, Any], focal: str, angle: str, side: int) -> float | None:
    """The focal length in pixels that one axis is given, if any."""
    if keys.get(focal) is not None:
        return float(keys[focal])
    return None if keys.get(angle) is None else 0.5 * side / math.tan(0.5 * float(keys[angle]))
