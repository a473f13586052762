"""What a run is made of: one frozen dataclass and its command line. A default is written here and nowhere else."""

import argparse
import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussian_splatting.training.schedule import TrainConfig
from PAD_utils.arguments import ArgumentParser
from PAD_utils.score.features import FAST_FEATURES, PAPER_FEATURES

PRESETS = ("fast", "paper")
RETRIEVALS = ("bank", "nearest", "loftr")
REFINERS = ("gauss-newton", "adam")

# What a preset decides unless the command line says otherwise.
_PRESET_VALUES: dict[str, dict[str, Any]] = {
    "fast": {"retrieval": "bank", "refiner": "gauss-newton", "features": FAST_FEATURES},
    "paper": {"retrieval": "loftr", "refiner": "adam", "features": PAPER_FEATURES},
}

_DATA, _MODEL, _POSES, _SCORES, _PROGRAM = "data and results", "training", "poses", "scores and decisions", "program"
_METAVARS: dict[type, str] = {str: "NAME", int: "N", float: "X", Path: "PATH"}


def _option(group: str, default: Any, flags: str, help: str, **argparse_options: Any) -> Any:
    """A dataclass field that carries its own command-line flags, help, and the group of flags it is listed in."""
    metadata = {"group": group, "flags": flags.split(), "help": help, **argparse_options}
    return dataclasses.field(default=default, metadata=metadata)


INSPECTIONS = "inspections"  # the subfolder of a result folder that holds those made with its model


@dataclass(frozen=True)
class RunConfig:
    """The configuration of one class and one seed; None means that the preset decides."""

    classname: str = _option(_DATA, "01Gorilla", "-c --classname", "class to run, of those in --data_path")
    data_path: Path = _option(_DATA, Path("MAD-Sim"), "--data_path", "folder that holds the classes", type=Path)
    images: Path | None = _option(
        _DATA,
        None,
        "--images",
        "inspect the pictures of this folder (its subfolders are parts) or list instead of the test set",
        type=Path,
    )
    model: Path | None = _option(
        _DATA,
        None,
        "--model",
        "result folder of a finished run whose model is used (default: this run's own)",
        type=Path,
    )
    prefix: str = _option(_DATA, "splatpose", "-p --prefix", "first part of the result folder's name")
    output: Path | None = _option(
        _DATA, None, "--output", "result folder (default: <data_path>/results_<prefix>_<seed>/<class>)", type=Path
    )
    resolution: int | None = _option(
        _DATA,
        None,
        "--resolution",
        "1, 2, 4 or 8 divides the picture size, a larger number is a width in pixels (default: as on disk)",
        type=int,
    )
    camera_angle_x: float | None = _option(
        _DATA,
        None,
        "--camera_angle_x",
        "horizontal field of view of the queries in radians (default: the training pictures')",
        type=float,
    )
    camera: Path | None = _option(
        _DATA,
        None,
        "--camera",
        "JSON file that describes the queries' camera by the keys of transforms.json: fl_x, cx, cy, w, h, k1 and so on "
        "(default: the training pictures')",
        type=Path,
    )
    rad_data_path: Path | None = _option(
        _DATA,
        None,
        "--rad_data_path",
        "folder that holds the classes with the test pictures and masks (default: that of the training pictures)",
        type=Path,
    )
    preset: str = _option(
        _MODEL, "fast", "--preset", "'paper' reproduces the paper step by step; 'fast' is ours", choices=PRESETS
    )
    train: int = _option(
        _MODEL, 1, "--train", "1: train, or reuse this run's model; 0: only use the trained model", choices=(0, 1)
    )
    gauss_iters: int | None = _option(_MODEL, None, "--gauss_iters", "training iterations", type=int)
    sh_degree: int | None = _option(
        _MODEL, None, "--sh_degree", "degree of the spherical harmonics", choices=(0, 1, 2, 3)
    )
    retrieval: str | None = _option(
        _POSES,
        None,
        "--retrieval",
        "where a query's first poses come from: renderings of the model, the views as they are, or LoFTR's matches "
        "(needs kornia and PAD's checkpoint, and on a CPU minutes per picture)",
        choices=RETRIEVALS,
    )
    loftr_weights: Path | None = _option(
        _POSES,
        None,
        "--loftr_weights",
        "PAD's indoor_ds_new.ckpt for --retrieval loftr (default: downloaded)",
        type=Path,
    )
    refiner: str | None = _option(_POSES, None, "--refiner", "how a pose is refined", choices=REFINERS)
    k: int = _option(_POSES, 175, "-k --k", "steps of --refiner adam", type=int)
    hypotheses: int = _option(_POSES, 8, "--hypotheses", "first poses that are refined together, per query", type=int)
    features: str | None = _option(
        _SCORES,
        None,
        "--features",
        "efficientnet-lite0 (installed with its weights), -lite1 or -lite2 (packages of their own), 'gradient' (needs "
        "no weights), or a backbone of torchvision, which is downloaded",
    )
    weights: Path | None = _option(_SCORES, None, "--weights", "weights of --features, instead of its own", type=Path)
    false_alarm_rate: float = _option(
        _SCORES,
        0.01,
        "--false_alarm_rate",
        "share of good parts that may be called defective (1/n at least, of n - 1 good views); needs no new training",
        type=float,
    )
    fail_on_defect: bool = _option(
        _SCORES,
        False,
        "--fail_on_defect",
        "exit with code 1 unless every picture is OK: DEFECT, NOT LOCALISED, undecided and unreadable ones all count",
        action="store_true",
    )
    seed: int = _option(_PROGRAM, 0, "--seed", "seed of every random draw", type=int)
    device: str | None = _option(
        _PROGRAM, None, "--device", "'cpu', 'cuda', 'cuda:1', ... (default: the GPU when there is one)"
    )
    wandb: int = _option(_PROGRAM, 0, "--wandb", "1: log the metrics to Weights & Biases", choices=(0, 1))
    verbose: int = _option(_PROGRAM, 0, "-v --verbose", "1: say more, such as every 100 iterations", choices=(0, 1))

    def resolved(self) -> "RunConfig":
        """The same configuration with every choice of the preset written out."""
        chosen = {name: value for name, value in _PRESET_VALUES[self.preset].items() if getattr(self, name) is None}
        return dataclasses.replace(self, **chosen)

    @property
    def model_folder(self) -> Path:
        """The result folder that holds the model: the one that --model names, or this run's own."""
        return self.model or self._own_folder

    @property
    def folder(self) -> Path:
        """Where the run leaves its files. An inspection (--images) has a folder of its own below that of the model,
        unless there are both --model and --output."""
        if self.images is None or (self.model and self.output):
            return self._own_folder
        return self.model_folder / INSPECTIONS / self.images.resolve().name

    @property
    def _own_folder(self) -> Path:
        return self.output or self.data_path / f"results_{self.prefix}_{self.seed}" / self.classname

    def as_json(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        values = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "RunConfig":
        """What `as_json` told. Raises TypeError when another version did."""
        paths = {field.name for field in dataclasses.fields(RunConfig) if field.metadata.get("type") is Path}
        plain: dict[str, Any] = {name: Path(v) if v and name in paths else v for name, v in values.items()}
        return RunConfig(**plain)


def make_parser(
    description: str | None, without: Collection[str] = (), several_classes: bool = False
) -> ArgumentParser:
    """A parser with a flag for every field of RunConfig, in groups; `without` the fields that a script does not use.
    With `several_classes`, `classname` is a list."""
    parser = ArgumentParser(description)
    titles = dict.fromkeys(field.metadata["group"] for field in dataclasses.fields(RunConfig))
    groups = {title: parser.add_argument_group(title) for title in titles}
    for field in dataclasses.fields(RunConfig):
        if field.name in without:
            continue
        options = dict(field.metadata)
        group, flags = groups[options.pop("group")], options.pop("flags")
        options["help"] += _default_text(field)
        if "choices" in options:
            options["type"] = type(options["choices"][0])
        elif "action" not in options:
            options["metavar"] = _METAVARS[options.get("type", str)]
        default = field.default
        if several_classes and field.name == "classname":
            default = [default]
            options |= {"nargs": "+", "help": options["help"].replace("class to run", "classes to run, or 'all'")}
        group.add_argument(*flags, dest=field.name, default=default, **options)
    return parser


def _default_text(field: Any) -> str:
    """What counts where the command line says nothing, unless the help has said so already."""
    if field.default is not None:
        return "" if field.default is False else f" (default: {field.default})"
    if field.name in _PRESET_VALUES["fast"]:
        return f" (preset: {', '.join(f'{preset} {_PRESET_VALUES[preset][field.name]}' for preset in PRESETS)})"
    if field.name not in ("gauss_iters", "sh_degree"):
        return ""
    attribute = {"gauss_iters": "iterations"}.get(field.name, field.name)
    of = {p: [getattr(TrainConfig.preset(p, device), attribute) for device in ("cpu", "cuda")] for p in PRESETS}
    texts = [
        f"{p} {cpu}" if cpu == cuda else f"{p} {cpu} on a CPU and {cuda} on a GPU" for p, (cpu, cuda) in of.items()
    ]
    return f" (preset: {', '.join(texts)})"


def config_from(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> RunConfig:
    """The configuration in parsed arguments; exits with code 2 and one line on a value out of range. Fields that the
    parser has no flag for keep their defaults."""
    names = {field.name for field in dataclasses.fields(RunConfig)}
    config = RunConfig(**{name: value for name, value in vars(arguments).items() if name in names})
    if not 0 < config.false_alarm_rate < 1:
        parser.error(f"--false_alarm_rate must lie between 0 and 1, got {config.false_alarm_rate}")
    angle = config.camera_angle_x
    if angle is not None and not 0 < angle < math.pi:
        parser.error(f"--camera_angle_x must lie between 0 and pi, got {angle}")
    if angle is not None and config.camera is not None:
        parser.error("--camera and --camera_angle_x both say what took the queries; give one of them")
    for name in ("gauss_iters", "k", "hypotheses", "resolution"):
        value = getattr(config, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if config.model is not None:
        config = dataclasses.replace(config, train=0)
    return config.resolved()
