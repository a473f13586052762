"""Poses and lenses from a COLMAP model: cameras and images, as text or binary (COLMAP documentation, Output Format).

Only what a folder of photographs needs is read; points are not. No COLMAP is needed for it.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from gaussian_splatting.camera import blender_pose
from gaussian_splatting.geometry import rigid
from PAD_utils.data.intrinsics import lens_spec
from PAD_utils.data.transforms import Frame
from PAD_utils.errors import UserError

# Names and parameters of COLMAP's camera models, in the order of their numbers.
_MODELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SIMPLE_PINHOLE", ("f", "cx", "cy")),
    ("PINHOLE", ("fl_x", "fl_y", "cx", "cy")),
    ("SIMPLE_RADIAL", ("f", "cx", "cy", "k1")),
    ("RADIAL", ("f", "cx", "cy", "k1", "k2")),
    ("OPENCV", ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")),
    ("OPENCV_FISHEYE", ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4")),
    ("FULL_OPENCV", ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    ("FOV", ("fl_x", "fl_y", "cx", "cy", "omega")),
    ("SIMPLE_RADIAL_FISHEYE", ("f", "cx", "cy", "k")),
    ("RADIAL_FISHEYE", ("f", "cx", "cy", "k1", "k2")),
    ("THIN_PRISM_FISHEYE", ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "sx1", "sy1")),
)
_PARAMETERS = dict(_MODELS)
_POINT_BYTES = 24  # x, y as doubles, and the number of the point in space


def colmap_model(root: Path) -> Path | None:
    """The folder below `root` that holds a COLMAP model: the first of sparse/0, sparse and colmap/sparse/0; or None."""
    folders = (root / name for name in ("sparse/0", "sparse", "colmap/sparse/0"))
    return next((folder for folder in folders if any(folder.glob("images.[bt][ix][nt]"))), None)


def read_colmap(folder: Path) -> dict[str, Frame]:
    """The frames by the pictures' names.

    Raises UserError naming a file that is missing, cut short, or of a lens that is not known.
    """
    try:
        binary = (folder / "images.bin").is_file()
        cameras = dict((_binary_cameras if binary else _text_cameras)(folder))
        images = list((_binary_images if binary else _text_images)(folder))
        frames = {}
        for name, camera, pose in images:
            spec = lens_spec(cameras[camera], {}, folder)
            frames[name] = Frame(pose, spec)
        return frames
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); copy the whole COLMAP model") from None
    except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise UserError(f"{folder} is no whole COLMAP model ({type(error).__name__}: {error}); copy it again") from None


def _keys(model: str, width: int, height: int, values: Sequence[float]) -> dict[str, Any]:
    """The camera by the keys of transforms.json."""
    names = _PARAMETERS.get(model, ())
    keys: dict[str, Any] = {"camera_model": model, "w": width, "h": height, **dict(zip(names, values, strict=False))}
    if "f" in keys:
        keys["fl_x"] = keys.pop("f")
    return keys


def _pose(quaternion: Sequence[float], translation: Sequence[float]) -> Float[Tensor, "4 4"]:
    """world_from_camera in Blender axes, of COLMAP's cam_from_world (w, x, y, z) and translation."""
    rotation = torch.from_numpy(Rotation.from_quat(np.array(quaternion)[[1, 2, 3, 0]]).as_matrix())
    return blender_pose(rigid(rotation, torch.tensor(translation, dtype=torch.float64)))


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def _text_cameras(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in _lines(folder / "cameras.txt"):
        if line.strip():
            number, model, width, height, *values = line.split()
            yield int(number), _keys(model, int(width), int(height), [float(value) for value in values])


def _text_images(folder: Path) -> Iterator[tuple[str, int, Float[Tensor, "4 4"]]]:
    for line in _lines(folder / "images.txt")[::2]:  # every second line lists points
        if line.strip():
            _, *numbers, camera, name = line.split(maxsplit=9)
            values = [float(number) for number in numbers]
            yield name, int(camera), _pose(values[:4], values[4:])


def _binary_cameras(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    data, offset = (folder / "cameras.bin").read_bytes(), 8
    for _ in range(*struct.unpack_from("<Q", data)):
        number, model, width, height = struct.unpack_from("<iiQQ", data, offset)
        name, parameters = _MODELS[model]
        values = struct.unpack_from(f"<{len(parameters)}d", data, offset + 24)
        offset += 24 + 8 * len(parameters)
        yield number, _keys(name, width, height, values)


def _binary_images(folder: Path) -> Iterator[tuple[str, int, Float[Tensor, "4 4"]]]:
    data, offset = (folder / "images.bin").read_bytes(), 8
    for _ in range(*struct.unpack_from("<Q", data)):
        _, *values, camera = struct.unpack_from("<i7di", data, offset)
        end = data.index(b"\0", offset + 64)
        name = data[offset + 64 : end].decode("utf-8")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        offset = end + 9 + _POINT_BYTES * points
        if offset > len(data):
            raise ValueError("images.bin is cut short")
        yield name, camera, _pose(values[:4], values[4:])
