"""Views held out from training: which they are, and that training never sees them while calibration does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.pose.types import PoseEstimate
from gaussian_splatting.training.train import TrainResult
from gaussian_splatting.views import View
from PAD_utils.data.held_out import split, split_by_name
from PAD_utils.run import judge, steps
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.ledger import Ledger
from PAD_utils.score.anomaly import ScoreConfig
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.normality import Normality
from PAD_utils.score.pyramid import FeaturePyramid
from tests.pose_scene import camera_at, lopsided, photograph


def views(count: int) -> list[View]:
    image = torch.zeros(8, 8, 3, dtype=torch.uint8)
    return [View(f"{i:03d}", camera_at((1, 0.3, 0.4), 8, 8), image) for i in range(count)]


def names(gallery: list[View]) -> list[str]:
    return [view.name for view in gallery]


@pytest.mark.parametrize("count", [0, 5, 27, 28, 56, 98, 210, 1000])
def test_few_views_are_held_out_evenly_and_none_of_a_small_gallery(count: int) -> None:
    gallery = views(count)
    seen, held_out = split(gallery)
    assert sorted(names(seen + held_out)) == names(gallery)
    assert 5 <= len(held_out) <= min(32, count / 5) if held_out else count < 28
    places = torch.tensor([int(name) for name in names(held_out)]).diff()
    assert (places == places[:1]).all()


def test_a_split_is_found_again_by_names() -> None:
    gallery = views(56)
    seen, held_out = split(gallery)
    assert split_by_name(gallery, names(held_out)) == (seen, held_out)
    assert split_by_name(gallery, []) == (gallery, [])


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_training_does_not_see_them_and_a_later_run_knows(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[str] = []

    def train(seen: list[View], *_: object, **__: object) -> TrainResult:
        trained_on.extend(names(seen))
        return TrainResult(lopsided(20), 30.0, 1.0, [])

    monkeypatch.setattr(steps, "train", train)
    gallery, job = views(56), Job(RunConfig(preset=preset), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    expected = split(gallery) if preset == "fast" else (gallery, [])
    model = steps.train_or_load(job, gallery)
    assert trained_on == names(expected[0])
    later = replace(job, config=replace(job.config, train=0), ledger=Ledger(tmp_path))
    for known in (model, steps.train_or_load(job, gallery), steps.train_or_load(later, gallery)):
        assert list(known.held_out) == names(expected[1])
    assert trained_on == names(expected[0])  # only once


def test_a_folder_of_an_earlier_version_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "train", lambda *_, **__: TrainResult(lopsided(20), 30.0, 1.0, []))
    job = Job(RunConfig(preset="paper"), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    model = steps.train_or_load(job, views(8))
    job.ledger.record("train", model.fingerprint, {"psnr": 30.0, "seconds": 1.0})
    assert steps.train_or_load(job, views(8)).held_out == ()


def test_the_threshold_and_normal_residuals_come_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views that the model knows are its own renderings here, the others are not."""

    class AtTheirPoses:
        name = "none"

        def refine(self, _: object, images: torch.Tensor, starts: list[list[Camera]]) -> list[PoseEstimate]:
            return [PoseEstimate(cameras[0], 0.0, 0, True) for cameras in starts]

    taught: list[int] = []
    learn = judge.learn_normality

    def noted(pyramid: FeaturePyramid, queries: torch.Tensor, *more: Any) -> Normality:
        taught.append(len(queries))
        return learn(pyramid, queries, *more)

    monkeypatch.setattr(judge, "make_refiner", lambda _: AtTheirPoses())
    monkeypatch.setattr(judge, "learn_normality", noted)
    g = torch.Generator().manual_seed(0)
    object_, known = lopsided(200), lopsided(200, seed=3)
    directions = [tuple(torch.randn(3, generator=g).tolist()) for _ in range(48)]
    cameras = [camera_at(direction, 32, 32) for direction in directions]
    held = names(split(views(48)).held_out)
    gallery = [
        View(f"{i:03d}", camera, photograph(object_ if f"{i:03d}" in held else known, camera))
        for i, camera in enumerate(cameras)
    ]
    job = Job(RunConfig(), torch.device("cpu"), tmp_path, Ledger(tmp_path), 0.0)
    model = steps.Model(known, tmp_path / "point_cloud.ply", "", None, None, held)
    _, told = judge.learn_normal(job, model, gallery, GradientFeatures())
    _, untold = judge.learn_normal(job, replace(model, held_out=[]), gallery, GradientFeatures())
    assert taught == [len(held), 48]
    assert told is not None and (told.views, told.inflation) == (48, 1.0)
    assert untold is not None and (untold.views, untold.inflation) == (48, ScoreConfig.fast().inflation)
