"""What the station keeps, and that nothing is answered that is not kept."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gaussian_splatting import PoseEstimate
from PAD_utils import UserError
from PAD_utils.inspector import Taken, Verdict
from PAD_utils.station import line as line_module
from PAD_utils.station.line import Admission, Line
from PAD_utils.station.models import Models
from PAD_utils.station.parts import Judged, Part, Photograph, RefusedError
from PAD_utils.station.pictures import Pictures
from PAD_utils.station.settings import Limits
from PAD_utils.station.statistics import statistics
from PAD_utils.station.store import Filter, Store
from tests.pose_scene import camera_at


def part(number: int, at: float | None = None) -> Part:
    image = torch.full((32, 32, 3), 255, dtype=torch.uint8)
    taken = {"A": Taken(image, camera_at((1, 1, 1), 32, 32), image)}
    return Part(f"{number:032x}", [Photograph(f"{number}.png", 32, 32, taken)], ["A"], at or time.time())


def judged(number: int, score: float = 1.0, decision: str | None = "OK", at: float | None = None) -> Judged:
    pose = PoseEstimate(camera_at((1, 1, 1), 32, 32), 0.0, 1, decision != "NOT LOCALISED")
    verdict = Verdict(torch.zeros(32, 32), score, torch.zeros(32, 32, 3, dtype=torch.uint8), pose, [], decision)
    return Judged(part(number, at), "A", "model", 2.0, [verdict], [np.eye(4).tolist()])


class FakeModels(Models):
    """Judges by the number of a part: 13 fails."""

    device = torch.device("cuda")  # so that parts are judged in batches; nothing is computed there

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._batch = 16
        self.go = threading.Event()

    def judge(self, parts: Sequence[Part]) -> list[Judged]:
        self.go.wait()
        self.batches.append(len(parts))
        if any(int(p.id, 16) == 13 for p in parts):
            raise RuntimeError("no memory left")
        return [replace(judged(int(p.id, 16)), part=p) for p in parts]


def make_line(store: Store, folder: Path, told: Callable, keep: int = 100) -> tuple[Line, FakeModels]:
    models = FakeModels()
    line = Line([models], store, Pictures(folder / "pictures"), keep, told)
    line.start()
    return line, models


def test_an_answer_is_in_the_database_before_it_is_given(tmp_path: Path) -> None:
    store, seen = Store(tmp_path), []

    def told(answer: dict) -> None:  # another program sees it already
        with sqlite3.connect(tmp_path / "station.db") as other:
            seen.append(other.execute("SELECT count(*) FROM parts WHERE id = ?", [answer["id"]]).fetchone()[0])

    line, models = make_line(store, tmp_path, told)
    parts = [part(i) for i in range(20, 40)]
    for one in parts:
        line.put(one)
    models.go.set()
    assert [one.answer.result(20)["id"] for one in parts] == [one.id for one in parts]
    line.stop()
    assert seen == [1] * 20
    assert max(models.batches) > 1 and sum(models.batches) == 20
    assert [models.at_once(waiting) for waiting in (1, 15, 16, 40)] == [4, 4, 16, 16]


def test_commits_are_flushed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store._connections["write"].execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert store._connections["write"].execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_part_that_fails_fails_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    line, models = make_line(store, tmp_path, lambda _: None)
    parts = [part(i) for i in range(10, 16)]
    for one in parts:
        line.put(one)
    models.go.set()
    with pytest.raises(RuntimeError, match="no memory left"):
        parts[3].answer.result(20)
    assert [one.answer.result(20)["decision"] for one in parts if one is not parts[3]] == ["OK"] * 5
    line.stop()
    assert len(store.newest(Filter(), 100)) == 5


def test_what_cannot_be_kept_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    told: list[dict] = []
    line, models = make_line(store, tmp_path, told.append)
    with sqlite3.connect(tmp_path / "station.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON parts BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    models.go.set()
    lost = part(1)
    line.put(lost)
    with pytest.raises(sqlite3.Error, match="disk full"):
        lost.answer.result(20)
    assert not told and not (tmp_path / "pictures" / lost.id).exists()
    with sqlite3.connect(tmp_path / "station.db") as other:
        other.execute("DROP TRIGGER full")
    again = part(2)
    line.put(again)
    assert again.answer.result(20)["decision"] == "OK"
    line.stop()


def test_all_of_a_batch_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(sqlite3.IntegrityError):
        store.add([judged(1), judged(2), judged(1)])
    assert store.newest(Filter(), 10) == []
    store.add([judged(1)])
    assert len(store.newest(Filter(), 10)) == 1


def test_an_answer_outlives_kill_9(tmp_path: Path) -> None:
    """The program prints an id as soon as it is kept, and dies in the middle of its work."""
    program = (
        "import sys; from pathlib import Path\nfrom tests.test_station_store import Store, judged\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for i in range(10_000): print(store.add([judged(i)])[0]['id'], flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = [process.stdout.readline().strip() for _ in range(25)]
    process.kill()
    printed += [line.strip() for line in process.stdout.readlines() if line.endswith("\n")]
    process.wait()
    kept = {row["id"] for row in Store(tmp_path).every()}
    assert len(printed) >= 25 and set(printed) <= kept


def test_filters_and_pages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kinds = ["OK", "DEFECT", "NOT LOCALISED", None]
    store.add([judged(i, float(i), kinds[i % 4]) for i in range(12)])
    store.label(f"{0:032x}", "defective")
    store.label(f"{1:032x}", "good")
    store.label(f"{5:032x}", "defective")
    numbers = [p["number"] for p in store.newest(Filter(), 5)]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == 5
    assert [p["number"] for p in store.newest(Filter(before=numbers[-1]), 100)] == list(range(numbers[-1] - 1, 0, -1))
    assert {p["decision"] for p in store.newest(Filter(decision="undecided"), 9)} == {None}
    assert len(store.newest(Filter(decision="DEFECT", classname="A"), 9)) == 3
    assert store.newest(Filter(classname="B"), 9) == []
    assert [int(p["id"], 16) for p in store.newest(Filter(mistakes=True), 9)] == [1, 0]
    assert [p["number"] for p in store.every()] == list(range(1, 13))


def test_old_pictures_go_and_labeled_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "_PRUNE_EVERY", 10)
    store = Store(tmp_path)
    line, models = make_line(store, tmp_path, lambda _: None, keep=3)
    models.go.set()
    first = part(0)
    line.put(first)
    first.answer.result(20)
    store.label(first.id, "good")
    rest = [part(i) for i in range(1, 10)]
    for one in rest:
        line.put(one)
    line.stop()
    left = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert left == {first.id, *(one.id for one in rest[-3:])}
    assert [p["has_pictures"] for p in store.every()] == [True] + [False] * 6 + [True] * 3
    (tmp_path / "pictures" / "begun").mkdir()
    Pictures(tmp_path / "pictures").remove_unknown(left)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == left


def test_room_is_counted() -> None:
    admission = Admission(Limits(parts_in_flight=2, pixels_in_flight=100))
    with admission.part(), admission.part(), pytest.raises(RefusedError) as refused:
        with admission.part():
            pass
    assert refused.value.status == 503 and admission.parts == 0
    with admission.decoded(1000):  # one alone always fits
        with pytest.raises(RefusedError), admission.decoded(1):
            pass
    assert admission.pixels == 0


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_a_damaged_or_foreign_database_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        with sqlite3.connect(tmp_path / "station.db") as other:
            other.execute("PRAGMA user_version = 99")
    else:
        (tmp_path / "station.db").write_bytes(content)
    with pytest.raises(UserError, match="station.db .*--store"):
        Store(tmp_path)


def test_statistics_and_drift(tmp_path: Path) -> None:
    store, random = Store(tmp_path), np.random.default_rng(0)
    now = time.time()
    usual = [judged(i, float(s), at=now - 3000) for i, s in enumerate(random.normal(1.0, 0.1, 250))]
    store.add(usual)
    found = statistics(store, "A", "model", 1.0)
    assert found["parts"] == 250 and found["defect"] == 0 and found["drift"]["warning"] is None
    assert len(found["spans"]) == 1 and found["spans"][0]["good_score"] == pytest.approx(1.0, abs=0.02)
    store.add([judged(1000 + i, float(s), at=now) for i, s in enumerate(random.normal(1.3, 0.1, 50))])
    warning = statistics(store, "A", "model", 1.0)["drift"]["warning"]
    assert warning and "score higher" in warning and "first 200" in warning
    assert statistics(store, "A", "another model", 1.0)["drift"]["warning"] is None
    store.add([judged(2000, 9.0, "DEFECT", now), judged(2001, 0.0, "NOT LOCALISED", now)])
    found = statistics(store, "A", "model", 1.0)
    assert (found["parts"], found["defect"], found["not_localised"]) == (302, 1, 1)


def test_parts_that_are_alike_raise_no_warning(tmp_path: Path) -> None:
    """Asked again and again as parts come, as a page does."""
    store, random = Store(tmp_path), np.random.default_rng(1)
    for first in range(0, 400, 25):
        scores = np.exp(random.normal(0, 0.3, 25))
        store.add([judged(first + i, float(s)) for i, s in enumerate(scores)])
        assert statistics(store, "A", "model", 1.0)["drift"]["warning"] is None
