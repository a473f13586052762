"""Views held out from training: which they are, and that training never sees them while calibration does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gaussian_splatting.training.exposure import Exposures
from gaussian_splatting.training.train import TrainResult
from gaussian_splatting.views import View
from PAD_utils.data.held_out import split, split_by_name
from PAD_utils.run import steps
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.ledger import Ledger
from tests.pose_scene import camera_at, lopsided

TRAINED = TrainResult(lopsided(20), 30.0, 1.0, [], exposures=Exposures.equal(48))


def views(count: int) -> list[View]:
    image = torch.zeros(8, 8, 3, dtype=torch.uint8)
    return [View(f"{i:03d}", camera_at((1, 0.3, 0.4), 8, 8), image) for i in range(count)]


def names(gallery: list[View]) -> list[str]:
    return [view.name for view in gallery]


@pytest.mark.parametrize("count", [0, 5, 15, 16, 28, 56, 98, 210, 1000])
def test_few_views_are_held_out_evenly_and_none_of_a_small_gallery(count: int) -> None:
    gallery = views(count)
    seen, held_out = split(gallery)
    assert sorted(names(seen + held_out)) == names(gallery)
    assert 3 <= len(held_out) <= min(32, count / 5) if held_out else count < 16
    places = torch.tensor([int(name) for name in names(held_out)]).diff()
    assert (places == places[:1]).all()


def test_a_split_is_found_again_by_names() -> None:
    gallery = views(56)
    seen, held_out = split(gallery)
    assert split_by_name(gallery, names(held_out)) == (seen, held_out)
    assert split_by_name(gallery, []) == (gallery, [])


@pytest.mark.parametrize(("preset", "count"), [("fast", 56), ("fast", 28), ("fast", 27), ("paper", 56)])
def test_training_does_not_see_them_and_a_later_run_knows(
    preset: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[str] = []

    def train(seen: list[View], *_: object, **__: object) -> TrainResult:
        trained_on.extend(names(seen))
        return TRAINED

    monkeypatch.setattr(steps, "train", train)
    gallery, job = views(count), Job(RunConfig(preset=preset), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    expected = split(gallery) if preset == "fast" and count >= 28 else (gallery, [])
    model = steps.train_or_load(job, gallery)
    assert trained_on == names(expected[0])
    later = replace(job, config=replace(job.config, train=0), ledger=Ledger(tmp_path))
    for known in (model, steps.train_or_load(job, gallery), steps.train_or_load(later, gallery)):
        assert list(known.held_out) == names(expected[1])
    assert trained_on == names(expected[0])  # only once


def test_a_folder_of_an_earlier_version_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "train", lambda *_, **__: TRAINED)
    job = Job(RunConfig(preset="paper"), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    model = steps.train_or_load(job, views(8))
    key = json.loads((tmp_path / "state.json").read_text())["train"]["fingerprint"]
    job.ledger.record("train", key, {"psnr": 30.0, "seconds": 1.0})
    again = steps.train_or_load(job, views(8))
    assert again.held_out == () and again.fingerprint == model.fingerprint


def test_too_few_pictures_and_a_poor_fit_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "train", lambda *_, **__: replace(TRAINED, psnr=20.0))
    job = Job(RunConfig(), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    steps.train_or_load(job, views(8))
    assert "only 8 training pictures" in caplog.text and "badly (20.0 dB; 28 and more is usual)" in caplog.text
