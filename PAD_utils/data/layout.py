"""Which files a class is made of: a folder of one of the layouts in `Kind`. Reads no pictures."""

import logging
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.images import PICTURE_SUFFIXES
from PAD_utils.data.colmap import colmap_model, read_colmap
from PAD_utils.data.intrinsics import LensSpec
from PAD_utils.data.listing import folded, list_pictures, natural_key, note_left_out, subfolders
from PAD_utils.data.transforms import Frame, read_transforms, some
from PAD_utils.errors import UserError

Kind = Literal["mad", "prepared", "nerf-synthetic", "photographs", "colmap"]
KIND_NAMES = {
    "mad": "raw MAD-Sim folder",
    "prepared": "prepared folder",
    "nerf-synthetic": "NeRF-synthetic scene",
    "photographs": "photographs with transforms.json",
    "colmap": "photographs with a COLMAP model",
}
GOOD = "good"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainFile:
    """A training picture, its pose, world_from_camera in Blender axes and the file's unit, and its lens."""

    path: Path
    world_from_camera: Float[Tensor, "4 4"]
    lens: LensSpec


@dataclass(frozen=True)
class TestFile:
    """A test picture, its mask (None: good, or no ground truth), and its pose and lens if the class ships them."""

    __test__ = False  # not a test for pytest

    defect: str
    path: Path
    mask: Path | None
    world_from_camera: Float[Tensor, "4 4"] | None
    lens: LensSpec | None


@dataclass(frozen=True)
class ClassFiles:
    """The files of one class, in natural order of their names. `test_root` holds test/ and ground_truth/."""

    name: str
    kind: Kind
    root: Path
    test_root: Path
    train: list[TrainFile]
    test: list[TestFile]


def list_class(data_path: Path, classname: str, test_path: Path | None = None, with_tests: bool = True) -> ClassFiles:
    """Finds the class `classname` under `data_path` (or at `data_path` itself, if that is the class).

    test_path: the folder of classes whose test pictures are taken instead; None: those beside the training pictures.
    Without `with_tests` the test set is not looked at, and need not be there.
    Frames whose picture is missing are left out with one warning. Raises UserError naming the file and the mend when
    the class, its poses, all its pictures or a mask are missing or broken.
    """
    check_classname(classname)
    root = Path(os.path.normpath(_find_root(Path(data_path), classname)))
    kind = _kind_of(root)
    transforms = _poses_of(root, kind)
    frames = _colmap_frames(root, transforms) if kind == "colmap" else read_transforms(transforms)
    if not frames:
        raise UserError(f"{transforms} holds no frames; put back the file that came with the class")
    folder = _train_folder(root, frames)
    posed = _posed_pictures(root, folder, frames, transforms)
    inside = {path: frame for path, frame in posed.items() if (root / "test") in path.parents}
    train = [
        TrainFile(path, frame.world_from_camera, frame.lens) for path, frame in posed.items() if path not in inside
    ]
    if not train:
        raise UserError(f"{transforms} names no training picture that is there; put the pictures of {folder} back")
    train.sort(key=lambda file: natural_key(file.path.name))
    _note_unposed(folder, {file.path for file in train}, transforms)
    if not with_tests:
        return ClassFiles(classname, kind, root, root, train, [])
    if kind == "nerf-synthetic" and test_path is None:
        return ClassFiles(classname, kind, root, root, train, _scene_test_files(root))
    test_root = root if test_path is None else _find_tests(test_path, classname)
    known = _by_name({f"{path.parent.name}/{path.name}": frame for path, frame in inside.items()})
    return ClassFiles(classname, kind, root, test_root, train, _defect_test_files(test_root, known))


def is_good(defect: str) -> bool:
    """Whether a folder of test pictures holds good ones: "good", in whatever capitals, or as in PIAD's set "good_" and
    something more."""
    return defect.casefold().partition("_")[0] == GOOD


def class_names(data_path: Path) -> list[str]:
    """The classes under `data_path`, in natural order. Raises UserError when there is none."""
    names = _class_folders(data_path) if data_path.is_dir() else []
    if not names:
        raise UserError(f"{data_path} holds no class; give the folder that does with --data_path, or add --download")
    return names


def check_classname(classname: str) -> None:
    """Raises UserError unless it is the name of a folder alone: results go to <some folder>/<classname>, which by a
    path would be the folder of the data themselves."""
    if classname in ("", ".", "..") or {"/", "\\", os.sep} & set(classname):
        place, name = os.path.split(os.path.abspath(classname))
        raise UserError(f"{classname!r} is no name of a class; say -c {name}, and where it lies by --data_path {place}")


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
    named = any((folder / name).is_file() for name in ("transforms.json", "transforms_train.json"))
    return named or colmap_model(folder) is not None


def _find_tests(test_path: Path, classname: str) -> Path:
    """The folder that holds test/: that of the class, or `test_path` itself."""
    for root in (test_path / classname, test_path):
        if (root / "test").is_dir():
            return root
    raise UserError(f"{test_path / classname / 'test'} does not exist; give the folder of the test pictures' classes")


def _kind_of(root: Path) -> Kind:
    if (root / "transforms.json").is_file():
        return "mad" if (root / "train" / GOOD).is_dir() else "photographs"
    if (root / "transforms_train.json").is_file():
        return "prepared" if subfolders(root / "test") else "nerf-synthetic"
    if colmap_model(root) is not None:
        return "colmap"
    if (root / "train" / GOOD).is_dir():
        raise UserError(
            f"{root}/transforms.json is missing: a class needs the poses of its training pictures (MAD-Real has none)"
        )
    raise UserError(
        f"{root} is no class: expected transforms.json (MAD-Sim, nerfstudio, instant-ngp), transforms_train.json "
        "(Blender) or sparse/0 (COLMAP)"
    )


def _poses_of(root: Path, kind: Kind) -> Path:
    """Where the poses of the training pictures are written."""
    if kind == "colmap":
        return colmap_model(root) or root
    return root / ("transforms_train.json" if kind in ("prepared", "nerf-synthetic") else "transforms.json")


def _colmap_frames(root: Path, model: Path) -> dict[str, Frame]:
    """COLMAP's names are relative to the folder of pictures, which 3DGS and PIAD call images."""
    folder = next((name for name in ("images", "input") if (root / name).is_dir()), "images")
    return {f"{folder}/{name}": frame for name, frame in read_colmap(model).items()}


def _train_folder(root: Path, frames: dict[str, Frame]) -> Path:
    """Where pictures are that other programs renamed, or moved from the place that the frames name."""
    named = (root / name for name in frames)
    folders = (root / "train" / GOOD, root / "train", *(path.parent for path in named), root / "images")
    return next((folder for folder in folders if folder.is_dir()), root)


def _stem_key(path: str) -> str:
    """A picture's name without folder, suffix, "_mask", capitals, leading zeros: other tools make MAD-Sim's 7 007."""
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), folded(_exact(path)))


def _exact(path: str) -> str:
    """A picture's name without folder, suffix and "_mask", accents written in one way."""
    name = Path(path).name
    stem = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in PICTURE_SUFFIXES else name
    return unicodedata.normalize("NFC", stem.removesuffix("_mask"))


def _posed_pictures(root: Path, folder: Path, frames: dict[str, Frame], transforms: Path) -> dict[Path, Frame]:
    """The pictures that the frames name: as written, with ".png", or under another spelling of the number in `folder`.

    One warning counts those that are missing. Raises UserError when two frames of one picture differ.
    """
    renamed = {_stem_key(path.name): path for path in reversed(list_pictures(folder))}
    found: dict[Path, Frame] = {}
    missing = []
    for name, frame in frames.items():
        written = Path(os.path.normpath(root / name))  # without "..", but with links as they are
        candidates = (
            p for p in (written, written.with_name(f"{written.name}.png")) if p.suffix.lower() in PICTURE_SUFFIXES
        )
        path = next((path for path in candidates if os.path.isfile(path)), renamed.get(_stem_key(name)))
        if path is None:
            missing.append(root / name)
        elif path in found and not found[path].world_from_camera.equal(frame.world_from_camera):
            raise UserError(f"{transforms} gives {path} two different poses; remove one of the frames")
        else:
            found[path] = frame
    if missing:
        _log.warning(
            "%s names %d of %d pictures that are missing (%s); they are not used",
            transforms, len(missing), len(frames), some(missing),
        )  # fmt: skip
    return found


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


def _defect_test_files(root: Path, known: dict[str, Frame]) -> list[TestFile]:
    """test/<defect>/<n>.png, ground_truth/<defect>/<n>_mask.png, and the frames `known` by "<defect>/<name>", or of
    transforms_test.json if it is there."""
    transforms = root / "transforms_test.json"
    told = _by_name(read_transforms(transforms)) if transforms.is_file() else {}
    files, taken, used = [], set[Path](), set[int]()
    for defect in subfolders(root / "test"):
        note_left_out(root / "test" / defect)
        masks = {} if is_good(defect) else _masks_of(root, defect)
        for picture, frame in _with_frames(defect, list_pictures(root / "test" / defect), known | told):
            used.add(id(frame))
            mask = None if masks is None else masks.get(_exact(picture.name), masks.get(_stem_key(picture.name)))
            if masks is not None and not is_good(defect) and mask is None:
                expected = root / "ground_truth" / defect / f"{picture.stem}_mask.png"
                raise UserError(f"{expected} is missing; add the mask or remove the picture {picture}")
            if mask in taken:
                raise UserError(f"{mask} would be the mask of {picture} and of another; name it as its picture")
            taken.update([mask] if mask else [])
            files.append(_test_file(defect, picture, mask, frame))
    if unused := [root / "test" / name.lstrip("/") for name, frame in told.items() if id(frame) not in used]:
        _log.warning(
            "%s names %d of %d pictures that are missing (%s); they are not used",
            transforms, len(unused), len(told), some(unused),
        )  # fmt: skip
    return files


def _test_file(defect: str, picture: Path, mask: Path | None, frame: Frame | None) -> TestFile:
    pose, lens = (None, None) if frame is None else (frame.world_from_camera, frame.lens)
    return TestFile(defect, picture, mask, pose, lens)


def _masks_of(root: Path, defect: str) -> dict[str, Path] | None:
    """The masks of a defect by its pictures' names, exact names first; None when the class has no ground truth."""
    if not (root / "ground_truth").is_dir():
        return None
    masks = list_pictures(root / "ground_truth" / defect)
    return {_stem_key(path.name): path for path in masks} | {_exact(path.name): path for path in masks}


def _by_name(frames: dict[str, Frame]) -> dict[str, Frame]:
    """The frames by "<defect>/<name>" of their pictures."""
    return {f"{Path(name).parent.name}/{_exact(name)}": frame for name, frame in frames.items()}


def _with_frames(defect: str, pictures: list[Path], frames: dict[str, Frame]) -> list[tuple[Path, Frame | None]]:
    """Each picture and its frame: of exactly its name, or of its number, unless another picture has that very name."""
    names = [f"{defect}/{_exact(picture.name)}" for picture in pictures]
    loose = {
        f"{Path(name).parent.name}/{_stem_key(name)}": frame for name, frame in frames.items() if name not in names
    }
    keys = [f"{defect}/{_stem_key(picture.name)}" for picture in pictures]
    return [(p, frames.get(name, loose.get(key))) for p, name, key in zip(pictures, names, keys, strict=True)]


def _scene_test_files(root: Path) -> list[TestFile]:
    transforms = root / "transforms_test.json"
    found = _posed_pictures(root, root / "test", read_transforms(transforms), transforms)
    files = [_test_file(GOOD, path, None, frame) for path, frame in found.items()]
    return sorted(files, key=lambda file: natural_key(file.path.name))
