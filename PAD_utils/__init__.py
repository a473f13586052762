"""Pose-agnostic anomaly detection built on `gaussian_splatting`: data sets, localization, scoring, metrics, report.

The names below are the public ones (docs/api.md). Each is loaded when it is first asked for: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PAD_utils.data.held_out import split
    from PAD_utils.data.mad import ClassData, Sample, load_class
    from PAD_utils.errors import UserError
    from PAD_utils.inspect_config import InspectConfig
    from PAD_utils.inspector import Inspector, Verdict
    from PAD_utils.score.anomaly import ScoreConfig
    from PAD_utils.score.features import make_features
    from PAD_utils.score.regions import Region

_HOMES = {
    "split": "data.held_out",
    "ClassData": "data.mad",
    "Sample": "data.mad",
    "load_class": "data.mad",
    "UserError": "errors",
    "InspectConfig": "inspect_config",
    "Inspector": "inspector",
    "Verdict": "inspector",
    "ScoreConfig": "score.anomaly",
    "make_features": "score.features",
    "Region": "score.regions",
}

__all__ = [
    "ClassData", "InspectConfig", "Inspector", "Region", "Sample", "ScoreConfig", "UserError", "Verdict", "load_class",
    "make_features", "split",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
