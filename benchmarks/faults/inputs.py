"""Files mutated at random, read by the real commands: each ends in the right result, says what it did not use, or
refuses in one line with exit code 2.

A mutated file is *silently wrong* when the command ends well, its results differ from those of the whole file, nothing
was warned of, and the mutation is not one that nobody can see (other finite numbers, other pixels of a format that has
no check sums).
"""

import csv
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

import prepare_lego_ad
from benchmarks.faults import tiny
from benchmarks.faults.forked import Ending, run_forked, run_in_turn, warm_up
from benchmarks.faults.mutations import Mutation, mutate_bytes, mutate_json, replace_file, same_structure
from benchmarks.faults.workers import Outcome, Trials, in_time
from PAD_utils.evaluate import __main__ as evaluation
from tests.fake_class import NAME
from train_and_render import main as train_and_render

_AT_ONCE = 25  # cases in one process
_CASE = "case"
_WEIGHTS = "weights.pth"


@dataclass(frozen=True)
class Kind:
    """A kind of file, where it lies in the folder of a case, how often it is drawn, and the command that reads it.
    `owned`: the program wrote it for itself, so that no damage may change a result. `optional`: it need not be
    there."""

    name: str
    weight: int
    files: Sequence[str]
    command: Callable[[Path], int]
    results: str
    owned: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Clean:
    """The results of whole files, and what was said on the way."""

    results: dict[str, Any]
    said: set[str]


def prepare(seed: int, workspace: Path) -> Trials:
    """Makes the whole files and their results; returns the cases, drawn by their numbers."""
    whole = workspace / "whole"
    kinds = make_whole(whole, workspace)
    clean = {kind.name: _clean(kind, whole, workspace) for kind in kinds}

    def trials(numbers: Sequence[int], folder: Path) -> Iterator[Outcome]:
        for start in in_time(range(0, len(numbers), _AT_ONCE)):
            some = numbers[start : start + _AT_ONCE]
            cases = [_Runner(number, seed, kinds, clean, whole, folder) for number in some]
            for case, ending in zip(cases, run_in_turn([case.run for case in cases], folder), strict=True):
                yield _outcome(case, ending)

    return trials


def _outcome(case: "_Runner", ending: Ending) -> Outcome:
    fault = ending.misbehavior or case.verdict()
    ended = "ends: fault" if fault else "ends: done" if ending.code == 0 else "ends: refused"
    most = {"seconds": ending.seconds, "CPU seconds": ending.cpu_seconds, "bytes": ending.peak_bytes}
    return Outcome(case.number, {case.kind.name: 1, ended: 1}, most, fault and f"{case.said()}: {fault}")


def make_whole(whole: Path, workspace: Path) -> list[Kind]:
    """Fills the folder that every case is a copy of: a class, its results, photographs, maps, a zip, a checkpoint."""
    root = tiny.make_class(whole)
    photos = whole / "photos"
    shutil.copytree(root / "test" / "good", photos)
    picture = Image.open(photos / "0.png")
    for name in ("1.jpg", "2.tiff", "3.bmp", "4.webp", "5.ppm"):
        picture.save(photos / name)
    for work in (lambda: _job(whole), lambda: _inspect(whole)):
        ending = run_forked(work, workspace)
        assert ending.code == 0, ending.err
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), whole / _WEIGHTS)
    shutil.copytree(whole / "out", whole / "net", ignore=shutil.ignore_patterns("inspections", "inspector"))
    ending = run_forked(lambda: _inspect_by_network(whole), workspace)
    assert ending.code == 0, ending.err
    shutil.copytree(whole / "out" / "anomaly_maps", whole / "maps")
    shutil.copy(whole / "out" / "images.csv", whole / "images.csv")
    run_forked(lambda: _interrupted(whole), workspace)
    _write_zip(whole, root)
    frames = f"{NAME}/transforms.json"
    views = [f"{NAME}/train/good/{i}.png" for i in range(6)]
    shots = [f"photos/{path.name}" for path in sorted(photos.iterdir())]
    masks = [str(path.relative_to(whole)) for path in sorted((root / "ground_truth").rglob("*.png"))]
    maps = [str(path.relative_to(whole)) for path in sorted((whole / "maps").rglob("*.tiff"))]
    inspector = ["out/inspector/inspector.json", "out/inspector/tensors.pt", "out/inspector/point_cloud.ply"]
    warm_up(lambda: _inspect(whole))
    return [
        Kind("poses", 15, [frames], _inspect, "out/inspections/photos"),
        Kind("poses, prepared", 15, [frames], _prepare, "prepared"),
        Kind("poses of the test", 5, [f"{NAME}/transforms_test.json"], _prepare, "prepared", optional=True),
        Kind("training pictures", 10, views, _prepare, "prepared"),
        Kind("training pictures, judged", 5, views, _inspect, "out/inspections/photos"),
        Kind("photographs", 12, shots, _inspect, "out/inspections/photos"),
        Kind("masks", 8, masks, _evaluate, "figures"),
        Kind("maps", 8, maps, _evaluate, "figures"),
        Kind("table", 8, ["images.csv"], _evaluate_table, "figures"),
        Kind("archive", 6, ["zip/MAD-Sim.zip"], _unpack, "zip"),
        Kind("model", 6, ["out/point_cloud/iteration_10/point_cloud.ply"], _inspect, "out/inspections/photos"),
        Kind("camera", 4, ["camera.json"], _inspect_by_camera, "out/inspections/photos"),
        Kind("weights", 3, [_WEIGHTS], _inspect_by_network, "net/inspections/photos"),
        Kind("checkpoint", 3, ["half/checkpoint.pt"], _go_on, "half", owned=True),
        Kind("state", 3, ["out/state.json"], _inspect, "out/inspections/photos", owned=True),
        Kind("photographs judged", 3, ["out/inspections/photos/photographs.jsonl"], _inspect,
             "out/inspections/photos", owned=True),
        Kind("inspector", 4, inspector, _inspect, "out/inspections/photos", owned=True),
    ]  # fmt: skip


class _Runner:
    """One case: drawn by its number, run in a copy of the process, judged there by what it left."""

    def __init__(
        self, number: int, seed: int, kinds: list[Kind], clean: dict[str, "Clean"], whole: Path, workspace: Path
    ) -> None:
        self.number = number
        self._draw = random.Random(f"{seed} {number}")
        self.kind = self._draw.choices(kinds, [kind.weight for kind in kinds])[0]
        self._file = self._draw.choice(list(self.kind.files))
        self._clean, self._whole = clean[self.kind.name], whole
        self._workspace, self._place = workspace, workspace / _CASE
        self._note = workspace / "notes" / f"{number}.json"

    def run(self) -> int:
        """In the copy: mutates, runs, and notes what was wrong with the results."""
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._whole, self._place)
        path = self._place / self._file
        mutation = self._mutate(path)
        self._note.parent.mkdir(exist_ok=True)
        self._note.write_text(json.dumps({"said": mutation.said}))
        before = tiny.snapshot(self._place / self.kind.results) if _keeps(self.kind) else {}
        code = self.kind.command(self._place)
        fault = self._fault(code, path, mutation, before)
        self._note.write_text(json.dumps({"said": mutation.said, "fault": fault}))
        return code

    def said(self) -> str:
        """What was mutated, and how."""
        return f"{self.kind.name}, {self._file}: {self._noted().get('said', 'not begun')}"

    def verdict(self) -> str | None:
        """What was wrong with the results; None: nothing."""
        return self._noted().get("fault")

    def _noted(self) -> dict[str, Any]:
        return json.loads(self._note.read_text()) if self._note.exists() else {}

    def _mutate(self, path: Path) -> Mutation:
        if self._draw.random() < 0.05:
            return replace_file(path, self._draw)
        if path.suffix == ".json" and self._draw.random() < 0.75:
            return mutate_json(path, self._draw)
        return mutate_bytes(path, self._draw)

    def _fault(self, code: int, path: Path, mutation: Mutation, before: dict[str, object]) -> str | None:
        found = _results(self._place / self.kind.results)
        if code == 2:
            after = tiny.snapshot(self._place / self.kind.results) if before else {}
            lost = [name for name in before if before[name] != after.get(name) and self._place / name != path]
            if lost and not self.kind.owned:
                return f"refused, and {lost[:3]} of an earlier run changed"
            return "refused, though it means the same" if mutation.harmless else None
        if self.kind.optional and (mutation.said in ("missing", "folder", "pipe", "endless", "loop")):
            return None
        if code != 0 or found == self._clean.results or _said(self._workspace) - self._clean.said:
            return None
        if not self.kind.owned and path.is_file() and _is_unseeable(self._whole / self._file, path):
            return None
        keys = [key for key in {*found, *self._clean.results} if found.get(key) != self._clean.results.get(key)]
        return f"silently wrong: {sorted(keys)[:4]}"


def _keeps(kind: Kind) -> bool:
    """Whether a command that refuses must leave the results of an earlier run as they are."""
    return not kind.owned and kind.results.startswith("out")


def _clean(kind: Kind, whole: Path, workspace: Path) -> Clean:
    """The results of the whole files."""
    place = workspace / _CASE
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    ending: Ending = run_forked(lambda: kind.command(place), workspace)
    assert ending.code == 0, ending.err
    return Clean(_results(place / kind.results), _said(workspace))


def _results(folder: Path) -> dict[str, Any]:
    """What counts of the results: figures, poses, decisions; not how a damaged file was found and made again."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        if path.name in ("metrics.json", "figures.json"):
            kept[path.name] = _timeless(json.loads(path.read_text("utf-8")))
        elif path.name in ("poses.json", "regions.json"):
            kept[path.name] = json.loads(path.read_text("utf-8"))
        elif path.suffix in (".tiff", ".png", ".ply") or path.name.startswith("transforms"):
            kept[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b""
    return kept


def _timeless(content: Any) -> Any:
    return {key: value for key, value in content.items() if key not in ("seconds", "curves")}


def _said(workspace: Path) -> set[str]:
    """The lines on stderr so far, wherever the folder lies."""
    return set((workspace / "stderr.txt").read_text("utf-8", "replace").replace(str(workspace), "").splitlines())


def _is_unseeable(whole: Path, mutated: Path) -> bool:
    """Whether the mutated file is as good as the whole one: nobody could know."""
    with suppress(Exception):
        if whole.suffix == ".json":
            return same_structure(json.loads(whole.read_text("utf-8")), json.loads(mutated.read_text("utf-8-sig")))
        if whole.suffix == ".csv":
            rows = [list(csv.reader(io.StringIO(path.read_text("utf-8")))) for path in (whole, mutated)]
            return sorted(row[:2] for row in rows[0]) == sorted(row[:2] for row in rows[1])
        if whole.suffix in (".jpg", ".tiff", ".bmp", ".webp", ".ppm"):
            sizes = [Image.open(path).size for path in (whole, mutated)]
            return sizes[0] == sizes[1] and mutated.stat().st_size >= 0.9 * whole.stat().st_size
        if whole.suffix == ".png":
            return bool(np.array_equal(*(np.asarray(Image.open(path).convert("RGB")) for path in (whole, mutated))))
        if whole.suffix == ".ply":
            heads = [path.read_bytes().partition(b"end_header\n") for path in (whole, mutated)]
            return len(heads[0][2]) <= len(heads[1][2])
    return False


def _job(place: Path) -> int:
    return train_and_render([*tiny.CHEAP, "-data_path", str(place), "--output", str(place / "out")])


def _go_on(place: Path) -> int:
    return train_and_render([*tiny.CHEAP, "-data_path", str(place), "--output", str(place / "half")])


def _interrupted(place: Path) -> int:
    """Training that ends as soon as its checkpoint is written."""
    from PAD_utils.run import steps

    def stopped(*_: object) -> None:
        os._exit(0)

    steps.save_ply = stopped
    return _go_on(place)


def _inspect(place: Path, *more: str) -> int:
    places = ["-data_path", str(place), "--output", str(place / "out"), "-train", "0"]
    return train_and_render([*tiny.CHEAP, *places, "--images", str(place / "photos"), *more])


def _inspect_by_camera(place: Path) -> int:
    return _inspect(place, "--camera", str(place / "camera.json"))


def _inspect_by_network(place: Path) -> int:
    more = ["--features", "squeezenet1_1", "--weights", str(place / _WEIGHTS), "--output", str(place / "net")]
    return _inspect(place, *more)


def _prepare(place: Path) -> int:
    return prepare_lego_ad.main(["--data_path", str(place), "-c", NAME, "--out", str(place / "prepared")])


def _evaluate(place: Path, *more: str) -> int:
    folders = [str(place / "maps"), str(place / NAME / "ground_truth")]
    (place / "figures").mkdir(exist_ok=True)
    return evaluation.main([*folders, "--json", str(place / "figures" / "figures.json"), *more])


def _evaluate_table(place: Path) -> int:
    return _evaluate(place, "--scores", str(place / "images.csv"))


def _unpack(place: Path) -> int:
    from PAD_utils.data.download import fetch_mad_sim
    from PAD_utils.run.job import run_script

    def work() -> None:
        fetch_mad_sim(place / "zip", (NAME,))

    return run_script(work)


def _write_zip(whole: Path, root: Path) -> None:
    (whole / "zip").mkdir()
    with zipfile.ZipFile(whole / "zip" / "MAD-Sim.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(whole))
    camera = json.loads((root / "transforms.json").read_text())["camera_angle_x"]
    (whole / "camera.json").write_text(json.dumps({"camera_angle_x": camera, "w": 16, "h": 16, "k1": 0.0}))
