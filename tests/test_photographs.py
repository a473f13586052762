"""Photographs by the hundred, as a user inspects them, on a tiny class in a temporary folder."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from PAD_utils.inspector import Inspector
from PAD_utils.run import conclude_inspection, photograph_log
from PAD_utils.run.scale import has_ray
from tests.fake_class import NAME, QUICK_JOB
from train_and_render import main

ROOT = Path(__file__).parent.parent
COUNT = 80
TWO_WORKERS = """
import sys
from PAD_utils.run import workers
from train_and_render import main
workers.worker_count = lambda *_: 2
sys.exit(main(sys.argv[1:]))
"""


def copies(trained: Path, folder: Path, count: int) -> Path:
    """Pictures of the test set with changed noise."""
    taken = sorted((trained / NAME / "test").glob("*/*.png"))
    pictures = [cv2.imread(str(path)) for path in taken]
    folder.mkdir(parents=True)
    for i in range(count):
        noise = np.random.default_rng(i).normal(0, 2, pictures[0].shape)
        noisy = np.clip(pictures[i % len(pictures)] + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noisy)
    return folder


def inspection(trained: Path, name: str) -> Path:
    return trained / "results_splatpose_0" / NAME / "inspections" / name


def command(trained: Path, photos: Path, *more: str) -> list[str]:
    return [*QUICK_JOB, "-data_path", str(trained), "-train", "0", "--images", str(photos), *more]


def content(folder: Path) -> dict[str, object]:
    """All that must not depend on how often the run was interrupted, by file: times aside."""
    found: dict[str, object] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("anomaly_maps/*/*")}
    found |= {name: (folder / name).read_bytes() for name in ("poses.json", "regions.json")}
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = list(csv.DictReader((folder / "images.csv").open()))
    for timed in (metrics, *rows):
        del timed["seconds"]
    shown = (folder / "report.html").read_text().count('class="card"')
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {**found, "metrics.json": metrics, "images.csv": rows, "shown": shown, "names": names}


def said_and_peak(job: list[str], said: Path) -> tuple[str, int]:
    """What a command that must succeed writes to stderr, and the peak of its memory in kB.

    Asked of /proc: `ru_maxrss` begins with the memory of whoever started the process.
    """
    peak_kb = 0
    with said.open("w") as file:
        process = subprocess.Popen(job, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_kb = max(
                [peak_kb, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))]
            )
            time.sleep(0.02)
    assert process.returncode == 0, said.read_text()
    return said.read_text(), peak_kb


@pytest.mark.determinism
def test_a_killed_inspection_goes_on_to_the_same_result(trained: Path) -> None:
    photos = copies(trained, trained / "photos", COUNT)
    job = [sys.executable, "train_and_render.py", *command(trained, photos)]
    subprocess.run(job, cwd=ROOT, check=True, capture_output=True)
    folder = inspection(trained, "photos")
    undisturbed = content(folder)
    assert undisturbed["shown"] == len(undisturbed["images.csv"]) == COUNT  # type: ignore[arg-type]
    shutil.rmtree(folder)

    log = folder / photograph_log.LOG_NAME
    process = subprocess.Popen(job, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 64):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (folder / "metrics.json").exists()
    log.write_bytes(log.read_bytes() + b'{"part": nu')  # as if a line had been cut off, too
    done = log.read_bytes().count(b"\n") - 1
    said, peak_kb = said_and_peak(job, trained / "said.txt")
    assert f"{done} pictures were judged by an earlier run; 0 of them have changed" in said
    assert content(folder) == undisturbed
    assert 100_000 < peak_kb < 2_000_000, "a driver of 100,000 photographs may take 2 GB"


def test_what_is_done_is_not_done_again_unless_it_has_changed(
    trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    photos = copies(trained, trained / "photos", 9)
    judged: list[int] = []
    monkeypatch.setattr(conclude_inspection, "_WORST", 3)
    monkeypatch.setattr(conclude_inspection, "_SAMPLE", 2)
    localize = Inspector.localize
    monkeypatch.setattr(Inspector, "localize", lambda *a: judged.append(len(a[1])) or localize(*a))
    arguments = command(trained, photos)
    assert main(arguments) == 0 and sum(judged) == 9
    folder = inspection(trained, "photos")
    first = content(folder)
    assert first["shown"] == 5 and "5 of 9 pictures are shown" in (folder / "report.html").read_text()
    judged.clear()
    assert main(arguments) == 0 and sum(judged) == 0 and content(folder) == first
    shutil.copy(photos / "0.png", photos / "4.png")
    (photos / "8.png").unlink()
    (photos / "7.png").write_bytes(b"no picture")
    (folder / "anomaly_maps" / "images" / "5.tiff").unlink()
    assert main(arguments) == 0 and sum(judged) == 2
    rows = {row["name"]: row for row in csv.DictReader((folder / "images.csv").open())}
    assert list(rows) == ["0", "1", "2", "3", "4", "5", "6"] and rows["4"]["score"] == rows["0"]["score"]
    assert not (folder / "anomaly_maps" / "images" / "8.tiff").exists()
    said = json.loads((folder / "metrics.json").read_text())["warnings"]
    assert any("1 of 8 pictures are left out, not judged" in line and "7.png" in line for line in said)
    judged.clear()
    assert main([*arguments, "--false_alarm_rate", "0.95"]) == 0 and sum(judged) == 0
    stricter = [row["decision"] for row in csv.DictReader((folder / "images.csv").open())]
    assert stricter.count("DEFECT") > [row["decision"] for row in rows.values()].count("DEFECT")
    regions = json.loads((folder / "regions.json").read_text())
    assert [bool(regions[f"images/{name}.png"]) for name in rows] == [d == "DEFECT" for d in stricter]
    assert main([*arguments, "--resolution", "16"]) == 0 and sum(judged) == 7


@pytest.mark.skipif(not has_ray(), reason="Ray is not installed")
def test_workers_find_what_one_process_finds(trained: Path) -> None:
    photos = copies(trained, trained / "photos", 9)
    arguments = command(trained, photos)
    assert main(arguments) == 0
    one = content(inspection(trained, "photos"))
    shutil.rmtree(inspection(trained, "photos"))
    # In a process of its own: what checks the types in tests cannot be sent to a worker.
    done = subprocess.run([sys.executable, "-c", TWO_WORKERS, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "2 workers" in done.stderr, done.stderr
    both = content(inspection(trained, "photos"))
    for name in ("images.csv", "regions.json"):  # their threads are fewer, which may change last bits of poses and maps
        assert one[name] == both[name]


def test_a_photograph_alone_is_what_it_is_among_others(trained: Path) -> None:
    """To the bit, so that a run may go on with any of them."""
    photos = copies(trained, trained / "photos", 12)
    assert main(command(trained, photos)) == 0
    among = list(csv.DictReader((inspection(trained, "photos") / "images.csv").open()))
    for row in among[::4]:
        alone = trained / f"alone{row['name']}"
        alone.mkdir()
        shutil.copy(photos / f"{row['name']}.png", alone)
        assert main(command(trained, alone)) == 0
        (found,) = csv.DictReader((inspection(trained, alone.name) / "images.csv").open())
        assert (found["score"], found["decision"]) == (row["score"], row["decision"])
