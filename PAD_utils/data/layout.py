"""Which files a class is made of: a raw MAD-Sim folder, a prepared one or a NeRF-synthetic scene. Reads no pictures."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.geometry import check_rigid
from gaussian_splatting.images import PICTURE_SUFFIXES
from PAD_utils.data.listing import list_pictures, natural_key, note_left_out, subfolders
from PAD_utils.errors import UserError
from PAD_utils.files import read_json

Kind = Literal["mad", "prepared", "nerf-synthetic"]
KIND_NAMES = {"mad": "raw MAD-Sim folder", "prepared": "prepared folder", "nerf-synthetic": "NeRF-synthetic scene"}
GOOD = "good"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainFile:
    """A training picture and its pose, world_from_camera in Blender axes."""

    path: Path
    world_from_camera: Float[Tensor, "4 4"]


@dataclass(frozen=True)
class TestFile:
    """A test picture, its mask (None: good, or no ground truth) and its pose if the class ships one (Blender axes)."""

    __test__ = False  # not a test for pytest

    defect: str
    path: Path
    mask: Path | None
    world_from_camera: Float[Tensor, "4 4"] | None


@dataclass(frozen=True)
class ClassFiles:
    """The files of one class, in natural order of their names."""

    name: str
    kind: Kind
    root: Path
    camera_angle_x_rad: float
    train: list[TrainFile]
    test: list[TestFile]


def list_class(data_path: Path, classname: str) -> ClassFiles:
    """Finds the class `classname` under `data_path` (or at `data_path` itself, if that is the class).

    Raises UserError naming the file and the mend when the class, its poses, a picture or a mask is missing or broken.
    """
    root = _find_root(Path(data_path), classname)
    kind = _kind_of(root)
    transforms = root / ("transforms.json" if kind == "mad" else "transforms_train.json")
    angle, frames = read_transforms(transforms)
    if not frames:
        raise UserError(f"{transforms} holds no frames; put back the file that came with the class")
    folder = root / "train" / GOOD if kind == "mad" else root / "train"
    train = [TrainFile(_picture_of(root, folder, name, transforms), pose) for name, pose in frames.items()]
    train.sort(key=lambda file: natural_key(file.path.name))
    _note_unposed(folder, {file.path for file in train}, transforms)
    test = _scene_test_files(root) if kind == "nerf-synthetic" else _defect_test_files(root)
    return ClassFiles(classname, kind, root, angle, train, test)


def class_names(data_path: Path) -> list[str]:
    """The classes under `data_path`, in natural order. Raises UserError when there is none."""
    names = _class_folders(data_path) if data_path.is_dir() else []
    if not names:
        raise UserError(f"{data_path} holds no class; give the folder that does with --data_path, or add --download")
    return names


def read_transforms(path: Path) -> tuple[float, dict[str, Float[Tensor, "4 4"]]]:
    """The horizontal field of view (rad) and the poses by `file_path`, world_from_camera in Blender axes.

    Raises UserError naming `path` and the frame: missing, not JSON, a key is missing, or a pose is no rigid motion.
    """
    content = read_json(path)
    try:
        angle = float(content["camera_angle_x"])
        matrices = {str(f["file_path"]): _matrix(f["transform_matrix"]) for f in content["frames"]}
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}; put back the file that came with the class") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is no transforms file ({error}); put back the one that came with the class") from None
    if not 0 < angle < 3.1415:
        raise UserError(f"{path}: camera_angle_x is {angle}; it must be a field of view in radians, between 0 and pi")
    for name, matrix in matrices.items():
        _check_pose(path, name, matrix)
    return angle, matrices


def _matrix(rows: object) -> Tensor:
    return torch.as_tensor(rows, dtype=torch.float64)


def _check_pose(path: Path, name: str, matrix: Tensor) -> None:
    if tuple(matrix.shape) != (4, 4):
        raise UserError(
            f"{path}: the pose of {name} is {tuple(matrix.shape)} in shape, not (4, 4); mend or remove the frame"
        )
    try:
        check_rigid(f"the pose of {name}", matrix)
    except ValueError as error:
        raise UserError(f"{path}: {error}; mend the frame or remove it") from None


def _find_root(data_path: Path, classname: str) -> Path:
    root = data_path / classname
    if root.is_dir():
        return root
    if data_path.name == classname and _has_transforms(data_path):
        return data_path
    if not data_path.is_dir():
        raise UserError(f"{data_path} is no folder; give the folder that holds the classes with --data_path")
    names = ", ".join(_class_folders(data_path)) or "none"
    raise UserError(f"{root} does not exist: there is no class {classname} in {data_path} (classes there: {names})")


def _class_folders(data_path: Path) -> list[str]:
    return sorted((name for name in subfolders(data_path) if _has_transforms(data_path / name)), key=natural_key)


def _has_transforms(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("transforms.json", "transforms_train.json"))


def _kind_of(root: Path) -> Kind:
    if (root / "transforms.json").is_file() and (root / "train" / GOOD).is_dir():
        return "mad"
    if (root / "transforms_train.json").is_file():
        return "prepared" if subfolders(root / "test") else "nerf-synthetic"
    if (root / "train" / GOOD).is_dir():
        raise UserError(
            f"{root}/transforms.json is missing: a class needs the poses of its training pictures (MAD-Real has none)"
        )
    raise UserError(
        f"{root} is no class: expected transforms.json and train/good (MAD-Sim), or transforms_train.json (Blender)"
    )


def _stem_key(path: str) -> str:
    """A picture's name without folder, suffix, "_mask" and leading zeros: other tools rename MAD-Sim's 7 to 007."""
    name = Path(path).name
    stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in PICTURE_SUFFIXES else name
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), stem.removesuffix("_mask"))


def _picture_of(root: Path, folder: Path, file_path: str, transforms: Path) -> Path:
    """The picture a frame names: as written, with ".png", or under another spelling of its number in `folder`."""
    for candidate in (root / file_path, root / f"{file_path}.png"):
        if candidate.suffix.lower() in PICTURE_SUFFIXES and candidate.is_file():
            return candidate
    for picture in list_pictures(folder):
        if _stem_key(picture.name) == _stem_key(file_path):
            return picture
    name = file_path if Path(file_path).suffix.lower() in PICTURE_SUFFIXES else f"{file_path}.png"
    raise UserError(f"{root / name} is missing, but {transforms} names it; put it back or remove its frame")


def _note_unposed(folder: Path, posed: set[Path], transforms: Path) -> None:
    note_left_out(folder, posed)
    unposed = [p.name for p in list_pictures(folder) if p not in posed]
    if unposed:
        _log.warning(
            "%s has no pose for %d pictures of %s (first: %s); they are not used",
            transforms,
            len(unposed),
            folder,
            unposed[0],
        )


def _defect_test_files(root: Path) -> list[TestFile]:
    """test/<defect>/<n>.png, ground_truth/<defect>/<n>_mask.png, and poses from transforms_test.json if it is there."""
    poses = _test_poses(root / "transforms_test.json")
    files = []
    for defect in subfolders(root / "test"):
        note_left_out(root / "test" / defect)
        masks = {} if defect == GOOD else _masks_of(root, defect)
        for picture in list_pictures(root / "test" / defect):
            key = _stem_key(picture.name)
            if masks is not None and defect != GOOD and key not in masks:
                expected = root / "ground_truth" / defect / f"{picture.stem}_mask.png"
                raise UserError(f"{expected} is missing; add the mask or remove the picture {picture}")
            mask = masks.get(key) if masks else None
            files.append(TestFile(defect, picture, mask, poses.get(f"{defect}/{key}")))
    if not files:
        raise UserError(f"{root / 'test'} holds no pictures; put the queries into test/good or test/<defect>")
    return files


def _masks_of(root: Path, defect: str) -> dict[str, Path] | None:
    """The masks of a defect by picture; None when the class has no ground truth at all."""
    if not (root / "ground_truth").is_dir():
        return None
    return {_stem_key(path.name): path for path in list_pictures(root / "ground_truth" / defect)}


def _test_poses(path: Path) -> dict[str, Tensor]:
    """Poses by "<defect>/<number>"; none when the file is not there."""
    if not path.is_file():
        return {}
    return {f"{Path(name).parent.name}/{_stem_key(name)}": pose for name, pose in read_transforms(path)[1].items()}


def _scene_test_files(root: Path) -> list[TestFile]:
    transforms = root / "transforms_test.json"
    frames = read_transforms(transforms)[1]
    files = [
        TestFile(GOOD, _picture_of(root, root / "test", name, transforms), None, pose) for name, pose in frames.items()
    ]
    return sorted(files, key=lambda file: natural_key(file.path.name))
