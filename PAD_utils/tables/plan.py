"""Which runs the tables ask for: every class, seed, preset and share of the views, as command lines of the main job."""

import dataclasses
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussian_splatting.parallel import parallel
from PAD_utils.data.layout import class_names, list_class
from PAD_utils.data.mad import CLASSES
from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig
from PAD_utils.run.ledger import fingerprint, fingerprint_file
from PAD_utils.tables.work import Task

# Where a run lies and how much it says change nothing in what it finds.
_NO_PART_OF_IDENTITY = ("data_path", "rad_data_path", "output", "prefix", "verbose", "wandb")
_FILES = ("weights", "loftr_weights", "camera")  # counted by content


@dataclass(frozen=True, order=True)
class Cell:
    """One run of the tables."""

    preset: str
    share: float  # of the training views, in (0, 1]
    classname: str
    seed: int

    @property
    def name(self) -> str:
        """As in messages."""
        views = "" if self.share == 1 else f", {100 * self.share:g} % of the views"
        return f"{self.classname}, seed {self.seed}, {self.preset}{views}"

    def folder(self, output: Path, features: str | None) -> Path:
        """The result folder of this run; `features` as asked for on the command line."""
        setting = self.preset if features is None else f"{self.preset}_{features}"
        return output / "jobs" / setting / f"views_{self.share:g}" / f"seed_{self.seed}" / self.classname


def cells(presets: Sequence[str], shares: Sequence[float], classes: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Every combination once; those of one class follow each other, as its pictures are in the cache then."""
    every = itertools.product(
        dict.fromkeys(shares), dict.fromkeys(classes), dict.fromkeys(seeds), dict.fromkeys(presets)
    )
    return [Cell(preset, share, name, seed) for share, name, seed, preset in every]


def expected_classes(data_path: Path, asked: Sequence[str] | None) -> list[str]:
    """The classes of the tables: those asked for, else all 20 of MAD-Sim where `data_path` holds one of them, and the
    others that are there. Raises UserError when nothing is."""
    if asked:
        return list(dict.fromkeys(asked))
    there = class_names(data_path)
    return list(dict.fromkeys([*(CLASSES if set(CLASSES) & set(there) else ()), *there]))


def make_task(cell: Cell, config: RunConfig, output: Path, folder: Path, content: str) -> Task:
    """The run of a cell. `config` holds the settings of its preset, `content` is `class_content` of its class."""
    config = dataclasses.replace(config, classname=cell.classname, seed=cell.seed, output=folder.absolute())
    values = {name: value for name, value in vars(config).items() if name not in _NO_PART_OF_IDENTITY}
    values |= {name: fingerprint_file(path) for name in _FILES if (path := values[name]) is not None}
    identity = fingerprint({name: str(value) for name, value in values.items()}, cell.share, content)
    commands: list[tuple[str, ...]] = []
    if cell.share < 1:
        subsets = (output / "views").absolute()
        subset = {
            "-c": cell.classname,
            "--data_path": config.data_path.absolute(),
            "--out": subsets,
            "--task": "sparse",
        }
        subset |= {"--share": cell.share, "--seed": cell.seed}
        commands.append(("prepare_subset_lego_ad.py", *_flat(subset)))
        config = dataclasses.replace(config, data_path=subsets / f"{cell.share:g}_{cell.seed}" / "sparse")
    commands.append(("train_and_render.py", *arguments(config)))
    return Task(cell.name, tuple(commands), folder.absolute(), identity, {})


def arguments(config: RunConfig) -> list[str]:
    """The command line of the main job that means this configuration."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(RunConfig):
        value = getattr(config, field.name)
        if value != field.default:
            found[field.metadata["flags"][-1]] = value.absolute() if isinstance(value, Path) else value
    return _flat(found)


def class_content(data_path: Path, classname: str, test_path: Path | None) -> str:
    """A fingerprint of all files of a class. Raises UserError when the class is not there or broken."""
    files = list_class(data_path, classname, test_path)
    roots = dict.fromkeys((files.root, files.test_root))
    paths = [(root, path) for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    hashes = parallel(lambda item: fingerprint_file(item[1]), paths)
    return fingerprint(*((os.fspath(p.relative_to(r)), h) for (r, p), h in zip(paths, hashes, strict=True)))


def contents(data_path: Path, classes: Sequence[str], test_path: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """(`class_content` of each class that is there, the reason of each that is not)."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in classes:
        try:
            found[name] = class_content(data_path, name, test_path)
        except UserError as error:
            missing[name] = str(error)
    return found, missing


def _flat(flags: dict[str, Any]) -> list[str]:
    """Flags and values as on a command line; True is a flag alone."""
    return [text for flag, value in flags.items() for text in ((flag,) if value is True else (flag, str(value)))]
