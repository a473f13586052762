"""Figures to Weights & Biases, which stands in for itself: the package is no requirement."""

import contextlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig
from PAD_utils.run.tracking import load_wandb, log_figures


def test_every_number_is_logged_under_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []

    @contextlib.contextmanager
    def init(**options: Any) -> Any:
        logged.append(options)
        yield SimpleNamespace(log=logged.append)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    config = RunConfig(classname="01Gorilla", seed=3).resolved()
    log_figures(config, {"aupro": 0.9, "pixel_auroc": None, "features": "gradient", "seconds": {"train": 2}})
    options, figures = logged
    assert figures == {"aupro": 0.9, "seconds/train": 2}
    assert options["name"] == "splatpose_3/01Gorilla" and options["config"] == config.as_json()


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="-wandb 1 needs the package wandb"):
        load_wandb()
