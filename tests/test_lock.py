"""Two runs never write to one result folder at a time."""

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job, open_job
from PAD_utils.run.lock import NAME, hold_folders
from train_and_render import main

HOLDER = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def job_of(tmp_path: Path, **more: object) -> Job:
    return open_job(RunConfig("A", tmp_path, device="cpu", **more))  # type: ignore[arg-type]


def other_run(folder: Path) -> "subprocess.Popen[str]":
    """A process that holds the folder, as another run does."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(folder / NAME)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_run_ends_in_one_line_and_the_lock_dies_with_its_process(
    fake_mad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fake_mad / "results_splatpose_0" / "00Fake"
    process = other_run(folder)
    try:
        assert main(["-c", "00Fake", "-data_path", str(fake_mad), "--device", "cpu", "--features", "gradient"]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: another run is at work in {folder}; wait")
        assert [path.name for path in folder.iterdir()] == [NAME]
    finally:
        process.kill()
        process.wait()
    with hold_folders(open_job(RunConfig("00Fake", fake_mad, device="cpu"))):
        pass


def test_inspections_with_one_trained_model_go_side_by_side(tmp_path: Path) -> None:
    first, second = (job_of(tmp_path, images=tmp_path / name, train=0) for name in ("left", "right"))
    with hold_folders(first), hold_folders(second):
        pass
    with hold_folders(dataclasses.replace(first, config=dataclasses.replace(first.config, train=1))):
        may_train = dataclasses.replace(second, config=dataclasses.replace(second.config, train=1))
        with pytest.raises(UserError, match="another run is at work in .*A; .*by -train 0"), hold_folders(may_train):
            pass


def test_nobody_trains_the_model_that_an_inspection_uses(tmp_path: Path) -> None:
    training = job_of(tmp_path)
    training.folder.mkdir(parents=True)
    first, second = (job_of(tmp_path, images=tmp_path / name, train=0) for name in ("left", "right"))
    with hold_folders(first):
        with pytest.raises(UserError, match="another run is at work in .*A; wait"), hold_folders(training):
            pass
        with hold_folders(second):
            pass
    with hold_folders(training):
        with pytest.raises(UserError, match="another run is at work in .*A; wait"), hold_folders(first):
            pass


def test_what_a_killed_inspection_left_with_the_model_goes_when_nobody_else_uses_it(tmp_path: Path) -> None:
    first, second = (job_of(tmp_path, images=tmp_path / name, train=0) for name in ("left", "right"))
    left = first.config.model_folder / "inspector" / ".tensors.0123abcd.tmp.pt"
    left.parent.mkdir(parents=True)
    left.touch()
    with hold_folders(first):
        assert not left.exists()
        left.touch()
        with hold_folders(second):
            assert left.exists()


def test_a_model_on_a_read_only_place_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, images=tmp_path / "photos", train=0, model=tmp_path, output=tmp_path / "out")
    real = os.open

    def read_only(path: object, flags: int, *more: int, **named: int) -> int:
        if Path(str(path)) == tmp_path / NAME and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    with hold_folders(job):
        pass


def test_leftovers_go_but_those_of_inspections_which_may_be_under_way(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    temporary = ".poses.0123abcd.tmp.json"
    inspection = job.folder / "inspections" / "photos" / temporary
    inspection.parent.mkdir(parents=True)
    for path in (job.folder / temporary, inspection):
        path.touch()
    with hold_folders(job):
        assert not (job.folder / temporary).exists() and inspection.exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="file.*could not be written"),
        hold_folders(job_of(tmp_path, output=tmp_path / "file" / "out")),
    ):
        pass
