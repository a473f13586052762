"""Seeded subsets of a class: for the pose benchmark, and for training on few views. Files are copied, never linked."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np

from PAD_utils.data.layout import GOOD, ClassFiles, TestFile, TrainFile, list_class
from PAD_utils.data.prepare import copy_file, copy_test_files, in_parallel, named, write_rgba, write_transforms
from PAD_utils.errors import UserError

Task = Literal["pose", "sparse"]
_log = logging.getLogger(__name__)


def prepare_subset(data_path: Path, classname: str, out: Path, task: Task, share: float, seed: int) -> Path:
    """Writes `out/<share>_<seed>/<task>/<classname>`, a prepared folder whose training views are a random `share`.

    "pose": the other training views become the test pictures, with their poses. "sparse": the test pictures are those
    of the class. The choice depends on the seed and on the number of views only; the source is only read.
    Raises UserError naming the file or argument when the class is broken or `share` leaves no view on one side.
    """
    files = list_class(data_path, classname)
    kept, left = split(len(files.train), share, seed)
    root = out / f"{share:g}_{seed}" / task / classname
    named(files.train, "./train")  # whatever is drawn
    train = named([files.train[i] for i in kept], "./train")
    test = copy_test_files(_as_tests(files, left) if task == "pose" else files.test, root)
    write_train = write_rgba if files.kind == "mad" else copy_file
    in_parallel(write_train, [(file.path, root / f"{name}.png") for name, file in train.items()])
    write_transforms(root / "transforms_test.json", test, files.train[0].lens)
    write_transforms(root / "transforms_train.json", train, files.train[0].lens)
    _log.info("%s: %d of %d training views, %d test pictures", root, len(train), len(files.train), len(test))
    return root


def split(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """`share` of the numbers below `count`, drawn by `seed`, and the others, in order; UserError if one is empty."""
    size = round(share * count) if 0 < share < 1 else 0
    if not 0 < size < count:
        raise UserError(
            f"--share {share:g} of {count} training views leaves none on one side; choose another between 0 and 1"
        )
    if seed < 0:
        raise UserError(f"--seed must not be negative, got {seed}")
    order = np.random.default_rng(seed).permutation(count)
    return sorted(order[:size].tolist()), sorted(order[size:].tolist())


def _as_tests(files: ClassFiles, chosen: list[int]) -> list[TestFile]:
    views: list[TrainFile] = [files.train[i] for i in chosen]
    return [TestFile(GOOD, view.path, None, view.world_from_camera, view.lens) for view in views]
