"""What a run is made of: one frozen dataclass and its command line. A default is written here and nowhere else."""

import argparse
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRESETS = ("fast", "paper")
RETRIEVALS = ("bank", "nearest", "loftr")
REFINERS = ("gauss-newton", "adam")

# What a preset decides unless the command line says otherwise.
_PRESET_VALUES: dict[str, dict[str, Any]] = {
    "fast": {"retrieval": "bank", "refiner": "gauss-newton"},
    "paper": {"retrieval": "loftr", "refiner": "adam"},
}


def _option(default: Any, flags: str, help: str, **argparse_options: Any) -> Any:
    """A dataclass field that carries its own command-line flags and help."""
    return dataclasses.field(default=default, metadata={"flags": flags.split(), "help": help, **argparse_options})


@dataclass(frozen=True)
class RunConfig:
    """The configuration of one class and one seed; None means that the preset decides."""

    classname: str = _option("01Gorilla", "-c -classname --classname", "class to run, a folder of -data_path")
    data_path: Path = _option(Path("MAD-Sim"), "-data_path --data_path", "folder that holds the classes", type=Path)
    prefix: str = _option("splatpose", "-p -prefix --prefix", "first part of the result folder's name")
    seed: int = _option(0, "-seed --seed", "seed of every random draw", type=int)
    preset: str = _option(
        "fast", "--preset", "'paper' reproduces the paper step by step; 'fast' is ours", choices=PRESETS
    )
    train: int = _option(
        1,
        "-train --train",
        "1: train (or reuse this run's model); 0: only use the trained model",
        type=int,
        choices=(0, 1),
    )
    gauss_iters: int | None = _option(None, "-gauss_iters --gauss_iters", "training iterations", type=int)
    sh_degree: int | None = _option(
        None, "--sh_degree", "degree of the spherical harmonics", type=int, choices=(0, 1, 2, 3)
    )
    resolution: int | None = _option(
        None, "--resolution", "1, 2, 4 or 8 divides the picture size, a larger number is a width in pixels", type=int
    )
    retrieval: str | None = _option(
        None,
        "--retrieval",
        "where a query's first poses come from: renderings of the model, the views as they are, or LoFTR's matches "
        "(needs kornia, PAD's checkpoint and a GPU)",
        choices=RETRIEVALS,
    )
    loftr_weights: Path | None = _option(
        None, "--loftr_weights", "PAD's indoor_ds_new.ckpt for --retrieval loftr, instead of a download", type=Path
    )
    refiner: str | None = _option(None, "--refiner", "how a pose is refined", choices=REFINERS)
    k: int = _option(175, "-k --k", "steps of --refiner adam", type=int)
    hypotheses: int = _option(8, "--hypotheses", "first poses that are refined together, per query", type=int)
    features: str = _option("efficientnet-b4", "--features", "'gradient' (needs no weights) or a torchvision backbone")
    weights: Path | None = _option(None, "--weights", "weights of --features, instead of a download", type=Path)
    false_alarm_rate: float = _option(
        0.01, "--false_alarm_rate", "share of good parts that may be called defective", type=float
    )
    images: Path | None = _option(
        None, "--images", "inspect the pictures of this folder instead of the test set", type=Path
    )
    camera_angle_x: float | None = _option(
        None,
        "--camera_angle_x",
        "horizontal field of view of the queries in radians, when it is not the gallery's",
        type=float,
    )
    output: Path | None = _option(
        None, "--output", "result folder instead of <data_path>/results_<prefix>_<seed>/<class>", type=Path
    )
    device: str | None = _option(None, "--device", "'cpu', 'cuda', 'cuda:1', ...; the GPU when there is one")
    wandb: int = _option(0, "-wandb --wandb", "1: log the metrics to Weights & Biases", type=int, choices=(0, 1))
    verbose: int = _option(0, "-v -verbose --verbose", "1: say more", type=int, choices=(0, 1))

    def resolved(self) -> "RunConfig":
        """The same configuration with every choice of the preset written out."""
        chosen = {name: value for name, value in _PRESET_VALUES[self.preset].items() if getattr(self, name) is None}
        return dataclasses.replace(self, **chosen)

    @property
    def folder(self) -> Path:
        """Where the run leaves its files."""
        return self.output or self.data_path / f"results_{self.prefix}_{self.seed}" / self.classname

    def as_json(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        values = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with a flag for every field of RunConfig."""
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in dataclasses.fields(RunConfig):
        options = dict(field.metadata)
        flags = options.pop("flags")
        if field.default is not None:
            options["help"] += f" (default: {field.default})"
        parser.add_argument(*flags, dest=field.name, default=field.default, **options)
    return parser


def config_from(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> RunConfig:
    """The configuration in parsed arguments; argparse exits with code 2 and one line on a value out of range."""
    config = RunConfig(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(RunConfig)})
    if not 0 < config.false_alarm_rate < 1:
        parser.error(f"--false_alarm_rate must lie between 0 and 1, got {config.false_alarm_rate}")
    angle = config.camera_angle_x
    if angle is not None and not 0 < angle < math.pi:
        parser.error(f"--camera_angle_x must lie between 0 and pi, got {angle}")
    for name in ("gauss_iters", "k", "hypotheses", "resolution"):
        value = getattr(config, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    return config.resolved()


def parse_config(argv: list[str] | None, description: str | None) -> RunConfig:
    """The configuration that a command line asks for."""
    parser = make_parser(description)
    return config_from(parser, parser.parse_args(argv))
