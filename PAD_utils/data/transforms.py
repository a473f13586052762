"""The reader of all transforms files: instant-ngp's, nerfstudio's, COLMAP converters', NeRF-synthetic's, MAD-Sim's."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.geometry import check_rigid
from PAD_utils.data.intrinsics import LENS_KEYS, LensSpec, lens_spec
from PAD_utils.errors import UserError
from PAD_utils.files import read_json

_USED = {*LENS_KEYS, "frames", "file_path", "transform_matrix"}
# What says nothing about poses or pixels: viewers' settings, statistics, what the poses went through already.
_NEEDS_NOTHING = {
    *("aabb_scale", "aabb", "scale", "offset", "render_aabb", "up", "n_frames", "fps", "rotation", "time", "sharpness"),
    *("applied_transform", "applied_scale", "orientation_override", "ply_file_path", "colmap_im_id", "near", "far"),
}
_NAMED = 3  # of many

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """A picture's pose, world_from_camera in Blender axes and the file's unit, and its lens."""

    world_from_camera: Float[Tensor, "4 4"]
    lens: LensSpec


def read_transforms(path: Path) -> dict[str, Frame]:
    """The frames by `file_path`, with "/" between folders. A key that is not used is named in a warning.

    Raises UserError naming `path` and the frame: missing, not JSON, a key is missing, a pose is no rigid motion, a
    lens is unknown, two frames of one picture differ.
    """
    content = read_json(path)
    try:
        found = [(_name(f["file_path"]), _matrix(f["transform_matrix"]), f) for f in content["frames"]]
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}; put back the file that came with the class") from None
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's words for numbers that are none
        raise UserError(f"{path} is no transforms file ({error}); put back the one that came with the class") from None
    frames: dict[str, Frame] = {}
    for name, matrix, keys in found:
        _check_pose(path, name, matrix)
        if name in frames and not torch.equal(frames[name].world_from_camera, matrix):
            raise UserError(f"{path} gives {name} two different poses; remove one of the frames")
        frames[name] = Frame(matrix, lens_spec(content, keys, path))
    _name_unused(path, content, [keys for _, _, keys in found])
    return frames


def some(names: Iterable[object]) -> str:
    """The first few of many names."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:_NAMED]) + (", ..." if len(listed) > _NAMED else "")


def _name(file_path: object) -> str:
    if not isinstance(file_path, str):
        raise TypeError(f"a file_path is {str(file_path)[:40]}")
    return file_path.replace("\\", "/")


def _matrix(rows: object) -> Tensor:
    matrix = torch.as_tensor(rows, dtype=torch.float64)
    if tuple(matrix.shape) == (3, 4):  # the last row left out
        matrix = torch.cat((matrix, matrix.new_tensor([[0, 0, 0, 1]])))
    return matrix


def _check_pose(path: Path, name: str, matrix: Tensor) -> None:
    if tuple(matrix.shape) != (4, 4):
        raise UserError(
            f"{path}: the pose of {name} is {tuple(matrix.shape)} in shape, not (4, 4); mend or remove the frame"
        )
    try:
        check_rigid(f"the pose of {name}", matrix)
    except ValueError as error:
        raise UserError(f"{path}: {error}; mend the frame or remove it") from None


def _name_unused(path: Path, content: dict[str, Any], frames: list[dict[str, Any]]) -> None:
    keys = {*content, *(key for frame in frames for key in frame)} - _USED - _NEEDS_NOTHING
    if keys:
        _log.warning("%s: these keys are not used: %s", path, ", ".join(sorted(keys)))
