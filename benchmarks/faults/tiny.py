"""The smallest class that goes through all steps of the main job, its commands, and what two runs must have equal."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fake_class import NAME, write_fake_class
from train_and_render import main

# Kept small where time goes: pixels, iterations, steps of the pose.
QUICK = ["-c", NAME, "-gauss_iters", "10", "--features", "gradient", "--device", "cpu"]
CHEAP = [*QUICK, "--retrieval", "nearest", "--refiner", "adam", "-k", "1"]
USUAL = [*QUICK, "--hypotheses", "2"]
_TIMED = ("seconds", "start", "end")


def make_class(data_path: Path, size: int = 16) -> Path:
    """A class of 6 views and 4 test pictures of size x size pixels; returns its folder."""
    return write_fake_class(data_path, size=size, rings=2, per_ring=3, tests=1)


def job(data_path: Path, output: Path, *more: str, base: list[str] = CHEAP) -> Callable[[], int]:
    """The main job on the class in `data_path`, not started yet."""
    arguments = [*base, "-data_path", str(data_path), "--output", str(output), *more]
    return lambda: main(arguments)


def snapshot(folder: Path) -> dict[str, object]:
    """All that a run leaves behind, by file, without what differs from run to run: times, and the paths in run.json."""
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            content[name] = "folder"
        elif path.name == "images.csv":
            content[name] = [_without_times(row) for row in csv.DictReader(path.open(encoding="utf-8"))]
        elif path.name in ("metrics.json", "poses.partial.json", "state.json"):
            content[name] = _without_times(json.loads(path.read_text("utf-8")))
        elif path.suffix == ".jsonl":
            content[name] = _last_of_each(path)
        elif path.name == "run.json":
            content[name] = sorted(json.loads(path.read_text("utf-8")))
        elif path.name == "report.html":  # holds times
            content[name] = path.read_text("utf-8").rstrip().endswith("</html>")
        else:
            content[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return content


def differences(expected: dict[str, object], found: dict[str, object]) -> list[str]:
    """The files that differ, or are on one side only."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def _last_of_each(path: Path) -> dict[str, Any]:
    """The lines of a growing file by picture: a later one of the same counts, in whatever order they came."""
    rows = [_without_times(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return {str(row.get("path")): row for row in rows}


def _without_times(content: Any) -> Any:
    if isinstance(content, dict):
        kept = {key: value for key, value in content.items() if key not in _TIMED and not key.endswith("_seconds")}
        return {key: _without_times(value) for key, value in kept.items() if key != "sum"}
    return content
