"""Cross-fitting: every view is left out by one model, and neighbors by different ones."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.training.train import TrainConfig
from gaussian_splatting.views import View
from PAD_utils.data.held_out import Gallery
from PAD_utils.inspect_config import InspectConfig
from PAD_utils.inspector import Inspector, OtherModels
from PAD_utils.run import steps
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.ledger import Ledger
from PAD_utils.score import cross_fit as module
from PAD_utils.score.anomaly import ScoreConfig
from PAD_utils.score.cross_fit import FOLDS, FOLDS_OF_FEW, cross_fit, fold_of
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.usual import Comparer, Posed, Usual
from tests.toy_scene import ball, cameras


def views(count: int) -> list[View]:
    image = torch.full((16, 16, 3), 255, dtype=torch.uint8)
    return [View(f"{i}", camera, image) for i, camera in enumerate(cameras(count, 16))]


def test_a_model_sees_all_views_but_those_of_its_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    sizes, starts = set(), []

    def train(some: list[View], *_: object, start: Gaussians, **__: object) -> SimpleNamespace:
        seen.append({view.name for view in some})
        starts.append(start)
        sizes.update((*view.image.shape[:2], view.camera.height, view.camera.width) for view in some)
        return SimpleNamespace(gaussians=ball(10), psnr=30.0, seconds=1.0)

    monkeypatch.setattr(module, "train", train)
    gallery, score = views(31), replace(ScoreConfig.fast(), side=10)
    assert len(cross_fit(gallery, TrainConfig(10), score, torch.device("cpu"), seed=0)) == FOLDS
    assert sizes == {(10, 10, 10, 10)}, "models are trained as large as they are compared"
    assert all(start is starts[0] for start in starts), "and from one start"
    for i, view in enumerate(gallery):
        assert [fold for fold in range(FOLDS) if view.name not in seen[fold]] == [fold_of(i, FOLDS)]


def test_folds_are_even_and_part_neighbors_on_a_ring_and_between_rings() -> None:
    folds = [fold_of(i, FOLDS) for i in range(210)]
    assert max(folds.count(fold) for fold in range(FOLDS)) <= 72
    assert all(a != b for a, b in zip(folds, folds[1:], strict=False))
    for place in range(15):  # of a ring of 15
        assert {fold_of(15 * ring + place, FOLDS) for ring in range(14)} == set(range(FOLDS))


def test_an_inspector_shows_each_view_by_the_model_that_never_saw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, folds = views(24), [ball(10 + i) for i in range(FOLDS)]
    inspector = Inspector(ball(10), gallery[4:], GradientFeatures(), held_out=gallery[:4], others=OtherModels(folds))
    held_out, learned = [Posed(view.image, view.camera) for view in gallery[:4]], {}

    def learn(_: object, seen: list[Posed], __: object) -> Usual:
        learned.update({id(view.camera): view.unseen_by for view in seen})
        return Usual(None, None, None, [], [])

    monkeypatch.setattr(inspector, "_localized", lambda _: held_out)
    monkeypatch.setattr(Comparer, "learn", learn)
    assert inspector.usual.local is None
    assert all(learned[id(view.camera)] is folds[fold_of(i, FOLDS)] for i, view in enumerate(gallery[4:]))


def test_where_no_view_is_held_out_each_is_judged_by_the_model_that_never_saw_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gallery, folds, learned = views(18), [ball(10 + i) for i in range(FOLDS_OF_FEW)], []
    inspector = Inspector(ball(10), gallery, GradientFeatures(), others=OtherModels(folds))

    def learn(_: object, seen: list[Posed], held_out: list[Posed]) -> Usual:
        assert not seen
        learned.extend(held_out)
        return Usual(None, None, None, [], [])

    monkeypatch.setattr(inspector, "_localized", lambda some: [Posed(view.image, view.camera) for view in some])
    monkeypatch.setattr(Comparer, "learn", learn)
    assert inspector.usual.local is None and len(learned) == len(gallery)
    expected = {id(view.camera): folds[fold_of(i, FOLDS_OF_FEW)] for i, view in enumerate(gallery)}
    assert all(view.judged_by is expected[id(view.camera)] and view.unseen_by is None for view in learned)


def test_the_papers_score_has_no_models_that_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, learned = views(18), []
    config = InspectConfig(ScoreConfig.paper())
    inspector = Inspector(
        ball(10), gallery, GradientFeatures(), config=config, others=OtherModels([ball(10 + i) for i in range(6)])
    )

    def learn(_: object, seen: list[Posed], held_out: list[Posed]) -> Usual:
        learned.append((len(seen), len(held_out)))
        return Usual(None, None, None, [], [])

    monkeypatch.setattr(inspector, "_localized", lambda some: [Posed(view.image, view.camera) for view in some])
    monkeypatch.setattr(Comparer, "learn", learn)
    assert inspector.usual.local is None and learned == [(len(gallery), 0)]


def test_models_for_few_views_are_trained_longer_and_on_any_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[int, object]] = []

    def fit(_: list[View], config: TrainConfig, *rest: object) -> list[Gaussians]:
        asked.append((config.iterations, rest[-1]))
        return []

    monkeypatch.setattr(steps, "cross_fit", fit)
    config = RunConfig("00Fake", tmp_path, gauss_iters=800)
    job = Job(config, torch.device("cpu"), tmp_path, Ledger(tmp_path), started=0.0)
    score, many = ScoreConfig.fast(), Gallery(views(50), views(4))
    for gallery in (Gallery(views(15), []), Gallery(views(16), []), Gallery(views(24), views(4)), many):
        steps.make_folds(job, gallery, score)
    steps.make_folds(replace(job, device=torch.device("cuda")), many, score)
    assert asked == [(200, FOLDS_OF_FEW), (200, FOLDS), (50, FOLDS)]
