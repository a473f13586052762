"""What a run will need is refused before it trains; an error leaves nothing behind; a warning reaches the report."""

import json
import logging
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

import train_and_pose_est
import train_and_render
from gaussian_splatting.training.initialize import NoHull
from PAD_utils.errors import UserError
from PAD_utils.run import job as job_module
from PAD_utils.run.checks import check_space
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import collect_warnings, open_job

QUICK = "-c 00Fake -gauss_iters 60 -k 3 --features gradient --retrieval nearest --refiner adam".split()


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        pytest.fail("it has begun to train")

    for name in ("train_gaussians", "train"):
        monkeypatch.setattr(f"PAD_utils.run.steps.{name}", train, raising=False)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["-c", "01Gorila"], "01Gorila"),
        (["--images", "no_such_folder"], "no_such_folder"),
        (["-wandb", "1"], "-wandb 1 needs the package wandb"),
        (["--retrieval", "loftr", "--loftr_weights", "no_such.ckpt"], "no_such.ckpt"),
        (["--features", "efficientnet-b4", "--weights", "no_such.pth"], "no_such.pth"),
        (["--output", "{data}/00Fake/transforms.json/sub"], "cannot be made or written to"),
    ],
)
def test_an_error_comes_before_training_and_leaves_nothing(
    fake_mad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], named: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    before = sorted(fake_mad.rglob("*"))
    argv = [part.replace("{data}", str(fake_mad)) for part in argv]
    assert train_and_render.main([*QUICK, "-data_path", str(fake_mad), *argv]) == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert sorted(fake_mad.rglob("*")) == before


@pytest.mark.usefixtures("no_training")
def test_the_pose_benchmark_checks_the_retrievals_that_it_compares(
    fake_mad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = ["--combinations", "nearest+adam", "loftr+adam", "--loftr-weights", "no_such.ckpt"]
    assert train_and_pose_est.main(["-c", "00Fake", "-data_path", str(fake_mad), *pairs]) == 2
    assert "no_such.ckpt" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("no_training")
def test_a_disk_that_is_too_full_is_said(
    fake_mad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    assert train_and_render.main([*QUICK, "-data_path", str(fake_mad)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "results_splatpose_0/00Fake needs up to" in last and "1 MB are free; free some space" in last


def test_space_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(UserError, match="yet needs up to .* MB"):
        check_space(tmp_path / "not" / "yet", 10**18)


def test_warnings_stand_in_the_results_once(fake_mad: Path) -> None:
    (fake_mad / "00Fake" / "train" / "good" / "99.png").write_bytes(
        (fake_mad / "00Fake" / "train" / "good" / "0.png").read_bytes()
    )
    assert train_and_render.main([*QUICK, "-data_path", str(fake_mad)]) == 0
    folder = fake_mad / "results_splatpose_0" / "00Fake"
    said = json.loads((folder / "metrics.json").read_text())["warnings"]
    assert sum("has no pose for 1 pictures" in line for line in said) == 1
    page = (folder / "report.html").read_text()
    assert "has no pose for 1 pictures" in page.split('class="summary"')[0]


def test_each_job_collects_its_own_warnings() -> None:
    first = collect_warnings()
    log = logging.getLogger("PAD_utils.run.anything")
    for message in ("a", "a", "b"):
        log.warning(message)
    log.info("c")
    second = collect_warnings()
    log.warning("d")
    assert first == ["a", "b"] and second == ["d"]


def test_a_slow_fallback_is_a_warning_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not open_job(RunConfig(data_path=tmp_path, device="cpu")).warnings
    monkeypatch.setattr(job_module, "cpu_library", lambda: None)
    (job_module_gpu := tmp_path / "nvidia0").touch()
    monkeypatch.setattr(job_module, "_GPU", job_module_gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = open_job(RunConfig(data_path=tmp_path)).warnings
    assert len(said) == 2 and "has a GPU" in said[0] and "kernels are missing" in said[1]


def test_a_job_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "choose_device", lambda _: torch.device("cpu"))
    job = open_job(RunConfig(data_path=tmp_path))
    assert not job.folder.exists()
    job.ledger.record("train", "mark", {})
    assert job.folder.exists()


def test_a_warning_of_the_training_is_said_again_when_the_model_is_used_again(
    fake_mad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_hull(*_: object, **__: object) -> None:
        raise NoHull("the backdrop is a forest")

    monkeypatch.setattr("gaussian_splatting.training.train.visual_hull", no_hull)
    metrics = fake_mad / "results_splatpose_0" / "00Fake" / "metrics.json"
    for again in ([], [], ["-train", "0"]):
        metrics.unlink(missing_ok=True)
        assert train_and_render.main([*QUICK, "-data_path", str(fake_mad), *again]) == 0
        said = json.loads(metrics.read_text())["warnings"]
        assert sum("the backdrop is a forest" in line for line in said) == 1
