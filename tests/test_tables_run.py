"""The tables as a user makes them, through deaths of a worker and of the driver, against a run one after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from PAD_utils.run.scale import has_ray
from PAD_utils.tables import schedule
from paper_tables import main
from tests.fake_class import NAME, write_fake_class

ROOT = Path(__file__).parent.parent
PATIENCE_S = 200
QUICK = "--features gradient --retrieval nearest --refiner adam -k 1 --hypotheses 1 -gauss_iters 20".split()


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny classes and one with a picture that is cut short."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("A", "B"):
        write_fake_class(folder, tests=1, per_ring=4)
        (folder / NAME).rename(folder / name)
    return folder


def of_run(data_path: Path, output: Path, *more: str) -> list[str]:
    return ["--data_path", str(data_path), "--output", str(output), "--memory_per_job", "1", *QUICK, *more]


def content(output: Path) -> dict[str, object]:
    """All that must not depend on what happened in between: times aside."""
    found = json.loads((output / "tables.json").read_text())
    del found["times"]
    found["maps"] = {str(p.relative_to(output)): p.read_bytes().hex() for p in sorted(output.glob("jobs/**/*.tiff"))}
    return {**found, "csv": (output / "tables.csv").read_text()}


@pytest.fixture(scope="module")
def undisturbed(data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run after the other, as where Ray is not installed."""
    output = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "has_ray", lambda: False)
        patch.setenv("OMP_NUM_THREADS", "1")  # as many as a run has by Ray: their number decides the last bits
        assert main(of_run(data_path, output)) == 0
    return output


def test_done_runs_are_not_repeated_and_failed_ones_are_named(
    undisturbed: Path, data_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data_path / "C"
    write_fake_class(data_path, tests=1, per_ring=4)
    (data_path / NAME).rename(broken)
    (broken / "test" / "good" / "0.png").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in undisturbed.glob("jobs/**/job.json")}
    tried: list[str] = []
    run_task = schedule.run_task
    monkeypatch.setattr(schedule, "has_ray", lambda: False)
    monkeypatch.setattr(schedule, "run_task", lambda task: (tried.append(task.name), run_task(task))[1])
    assert main(of_run(data_path, undisturbed)) == 2
    assert tried == ["C, seed 0, fast"] * schedule.TRIES
    said = capsys.readouterr().err
    assert "1 of 3 runs are missing" in said and "one after the other" in said
    assert "0.png: not a complete picture" in (undisturbed / "tables.md").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert main(of_run(data_path, undisturbed, "--classes", "A", "B", "--tables_only")) == 0


@pytest.mark.skipif(not has_ray(), reason="Ray is not installed")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked for in /proc")
def test_tables_outlive_a_dead_worker_and_a_dead_driver(undisturbed: Path, data_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "disturbed"
    command = [sys.executable, "paper_tables.py", *of_run(data_path, output, "--classes", "A", "B")]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        job = await_(lambda: jobs_in(output))[0]
        os.kill(parent(job), signal.SIGKILL)  # the worker
        await_(lambda: job not in jobs_in(output))
        await_(lambda: list(output.glob("jobs/**/metrics.json")))
        driver.kill()
        driver.wait()
        await_(lambda: not jobs_in(output))
        assert b"the worker died" in (tmp_path / "log").read_bytes()
        assert not (output / "tables.json").exists()
        assert subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode == 0
    assert main(of_run(data_path, undisturbed, "--classes", "A", "B", "--tables_only")) == 0
    assert content(output) == content(undisturbed)


def jobs_in(output: Path) -> list[int]:
    """Processes of the main job that fill folders below `output`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has ended
            continue
        if str(output).encode() in line and b"train_and_render.py" in line:
            found.append(int(path.parent.name))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def await_(happened: Callable[[], object]) -> object:
    end = time.monotonic() + PATIENCE_S
    while not (result := happened()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return result
