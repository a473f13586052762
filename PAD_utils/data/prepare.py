"""MAD-Sim to the format that 3D Gaussian splatting reads (Blender's, as NeRF-synthetic). The source is only read."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from gaussian_splatting.images import encoded, read_image
from gaussian_splatting.parallel import parallel
from PAD_utils.data.intrinsics import LensSpec
from PAD_utils.data.layout import TestFile, TrainFile, list_class
from PAD_utils.data.listing import folded
from PAD_utils.errors import UserError
from PAD_utils.files import atomic_path, write_json

_log = logging.getLogger(__name__)
_File = TypeVar("_File", TrainFile, TestFile)


def prepare_class(data_path: Path, classname: str, out: Path) -> Path:
    """Writes `out/<classname>`: train/<n>.png as RGBA, transforms_train.json, test and ground_truth pictures, and
    transforms_test.json with the test poses that are known (MAD-Sim knows none: no made-up ones are written).

    What is there already and not older than its source is kept. Nothing in it is random.
    Raises UserError naming the file when the class is broken, is no raw MAD-Sim class, or `out` would overwrite it.
    """
    files = list_class(data_path, classname)
    root = out / classname
    if files.kind != "mad":
        raise UserError(f"{files.root} is no raw MAD-Sim class but already in Blender's format; use it as it is")
    if root.resolve() == files.root.resolve():
        raise UserError(f"--out {out} would write into the source {files.root}; choose another folder")
    train = named(files.train, "./train")
    test = copy_test_files(files.test, root)
    in_parallel(write_rgba, [(file.path, root / f"{name}.png") for name, file in train.items()])
    write_transforms(root / "transforms_test.json", test, files.train[0].lens)
    write_transforms(root / "transforms_train.json", train, files.train[0].lens)
    _log.info("%s: %d training and %d test pictures", root, len(train), len(files.test))
    return root


def alpha_of_white(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Alpha of a picture rendered on white: 0 where pure white reaches the border, 255 elsewhere.

    White on the object stays opaque, and compositing on white gives back the picture exactly, whatever its edges.
    """
    white = np.all(image == 255, axis=-1).astype(np.uint8)
    padded = np.pad(white, 1, constant_values=1)
    _, labels = cv2.connectedComponents(padded, connectivity=4)
    return np.where(labels[1:-1, 1:-1] == labels[0, 0], 0, 255).astype(np.uint8)


def named(files: Sequence[_File], folder: str) -> dict[str, _File]:
    """The files by the `file_path` of their frames in `folder`. Raises UserError when two would get the same."""
    names: dict[str, _File] = {}
    taken: dict[str, Path] = {}
    for file in files:
        name = f"{folder}/{file.path.stem}"
        if (other := taken.setdefault(folded(name), file.path)) is not file.path:
            raise UserError(f"{other} and {file.path} would both become {name}; rename one, and its frame")
        names[name] = file
    return names


def copy_test_files(files: Sequence[TestFile], root: Path) -> dict[str, TestFile]:
    """Copies test pictures and masks into `root`; returns them by the `file_path` of their frames."""
    copies: dict[str, TestFile] = {}
    for defect in sorted({file.defect for file in files}):
        copies |= named([file for file in files if file.defect == defect], f"./test/{defect}")
    jobs = [(file.path, root / "test" / file.defect / file.path.name) for file in files]
    for file in files:
        if file.mask is not None:
            jobs.append((file.mask, root / "ground_truth" / file.defect / f"{file.path.stem}_mask{file.mask.suffix}"))
    in_parallel(copy_file, jobs)
    return copies


def copy_file(source: Path, target: Path) -> None:
    """Copies the bytes unless `target` is there and of its date. Raises UserError naming what cannot be read."""
    if (date := _date(source)) == _date(target) and target.is_file():
        return
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UserError(f"{source} cannot be read ({error.strerror}); check its permissions") from None
    _write_dated(date, target, content)


def write_transforms(path: Path, frames: Mapping[str, TrainFile | TestFile], like: LensSpec) -> None:
    """Writes a transforms file with the poses (Blender axes) by `file_path`, and what is known of the lens: at the top
    where it is one for all, `like` where there are no frames. Files without a pose are left out."""
    lenses = {name: dict(f.lens.keys) for name, f in frames.items() if f.world_from_camera is not None and f.lens}
    shared = next(iter(lenses.values()), dict(like.keys))
    one = all(lens == shared for lens in lenses.values())
    content = {
        **(shared if one else {}),
        "frames": [
            {"file_path": name, "transform_matrix": f.world_from_camera.tolist(), **({} if one else lenses[name])}
            for name, f in frames.items()
            if f.world_from_camera is not None
        ],
    }
    write_json(path, content)


def write_rgba(source: Path, target: Path) -> None:
    """Writes an RGB picture on white as RGBA, unless `target` is there and of its date. UserError names `source`."""
    if (date := _date(source)) == _date(target) and target.is_file():
        return
    try:
        image = read_image(source).numpy()
    except ValueError as error:
        raise UserError(str(error)) from None
    bgra = np.dstack([image[..., ::-1], alpha_of_white(image)])
    _write_dated(date, target, encoded(".png", bgra))


def _date(path: Path) -> int | None:
    """When a file was written, in ns; None where it cannot be known. Dates are compared, never ordered: what replaces a
    file may be older."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _write_dated(date: int | None, target: Path, content: bytes) -> None:
    """Writes what was made of a source of this date, taken before it was read, with the same date."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
        if date is not None:
            os.utime(temporary, ns=(date, date))


def in_parallel(work: Callable[[Path, Path], None], jobs: Sequence[tuple[Path, Path]]) -> None:
    """Calls work(source, target) for every job; coding pictures lets go of the interpreter lock, so threads do."""
    parallel(lambda job: work(*job), jobs)
