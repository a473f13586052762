"""-wandb 1: the figures of a run to Weights & Biases, for who keeps them there."""

import importlib
from typing import Any

from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig


def load_wandb() -> Any:
    """The package, which is no requirement of ours. Raises UserError when it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(f"-wandb 1 needs the package wandb ({error}); pip install wandb, or leave it out") from error


def log_figures(config: RunConfig, figures: dict[str, Any]) -> None:
    """Logs every number of nested `figures` under its keys, as one run named after the class and the seed."""
    wandb = load_wandb()
    name = f"{config.prefix}_{config.seed}/{config.classname}"
    with wandb.init(project="SplatPose", name=name, config=config.as_json(), dir=str(config.folder)) as run:
        run.log(flat(figures))


def flat(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """{"a": {"b": 1}} as {"a/b": 1}; what is no number is left out."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            found[prefix + key] = float(value)
    return found
