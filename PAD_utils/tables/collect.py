"""What finished runs, and other programs' maps, have to say: one record for each cell of the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from PAD_utils.data.layout import list_class
from PAD_utils.errors import UserError
from PAD_utils.evaluate.__main__ import evaluate_folder
from PAD_utils.evaluate.pose_metrics import PoseError, pose_error
from PAD_utils.files import read_json
from PAD_utils.tables.plan import Cell
from PAD_utils.tables.work import read_record

METRICS = ("image_auroc", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class Record:
    """One class, one seed of a method. `figures` is the content of metrics.json; `problem` says why there is none,
    `failed` whether that is the fault of a run. `errors` are those of the poses, where the true ones are known."""

    method: str
    share: float
    classname: str
    seed: int | None
    figures: dict[str, Any]
    problem: str | None = None
    failed: bool = False
    errors: tuple[PoseError, ...] = ()
    cost: dict[str, Any] | None = None  # job.json


def collect(cell: Cell, folder: Path, missing: str | None, data_path: Path) -> Record:
    """The record of a run. `missing`: why the class cannot be run, None if it can."""
    method, at = f"ours, {cell.preset}", (cell.share, cell.classname, cell.seed)
    record = read_record(folder)
    if record.get("error"):
        return Record(method, *at, {}, record["error"], failed=True)
    if not (folder / "metrics.json").exists():
        return Record(method, *at, {}, missing or "not run yet")
    try:
        figures = read_json(folder / "metrics.json")
    except UserError as error:
        return Record(method, *at, {}, str(error), failed=True)
    errors = _pose_errors(folder, cell.classname, data_path)
    return Record(method, *at, figures, errors=errors, cost=record)


def collect_maps(name: str, folder: Path, classname: str, data_path: Path) -> Record:
    """The record of another program's maps of a class: <folder>/<class>, or anomaly_maps/ or test/ in it, holds
    <defect>/<name>.tiff. An images.csv beside them gives the image scores, else each map's maximum does."""
    root = folder / classname
    maps = next((path for path in (root / "anomaly_maps", root / "test") if path.is_dir()), root)
    table = root / "images.csv"
    if not root.is_dir():
        return Record(name, 1.0, classname, None, {}, f"{root} is no folder")
    try:
        result = evaluate_folder(maps, data_path / classname / "ground_truth", table if table.exists() else None)
    except UserError as error:
        return Record(name, 1.0, classname, None, {}, str(error), failed=True)
    return Record(name, 1.0, classname, None, {key: value for key, value in result.items() if key != "curves"})


def _pose_errors(folder: Path, classname: str, data_path: Path) -> tuple[PoseError, ...]:
    """Those of the test pictures whose true poses the class ships; none where it ships none, or is not there."""
    try:
        files = list_class(data_path, classname).test
        poses = read_json(folder / "poses.json")
    except UserError:
        return ()
    pairs = [(poses.get(f"{file.defect}/{file.path.stem}.png"), file.world_from_camera) for file in files]
    return tuple(
        pose_error(torch.tensor(found["world_from_camera"], dtype=torch.float64), true)
        for found, true in pairs
        if found is not None and true is not None
    )


def problems(records: Sequence[Record]) -> list[str]:
    """A line for each cell without figures."""
    lines = []
    for record in records:
        if record.problem is not None:
            seed = "" if record.seed is None else f", seed {record.seed}"
            views = "" if record.share == 1 else f", {100 * record.share:g} % of the views"
            lines.append(f"{record.classname}{seed}, {record.method}{views}: {record.problem}")
    return lines
