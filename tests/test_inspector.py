"""The inspector: photographs in, verdicts out; what it learns, from which views; saved and loaded."""

import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gaussian_splatting import Camera, Gaussians, PoseEstimate, View
from gaussian_splatting.rendering import render
from PAD_utils import InspectConfig, Inspector, UserError, inspector_files, split
from PAD_utils.inspector import Comparison
from PAD_utils.pose import bank as bank_module
from PAD_utils.score.anomaly import ScoreConfig
from tests.pose_scene import camera_at, lopsided, photograph

SIDE = 48


class AtTheirPoses:
    """Takes the first hypothesis for the pose."""

    name = "none"

    def refine(self, _: object, images: torch.Tensor, starts: list[list[Camera]]) -> list[PoseEstimate]:
        return [PoseEstimate(cameras[0], 0.0, 0, True) for cameras in starts]


@pytest.fixture(scope="module")
def cameras() -> list[Camera]:
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(48, 3, generator=generator).tolist()
    return [camera_at((x, y, z), SIDE, SIDE) for x, y, z in directions]


@pytest.fixture(scope="module")
def model() -> Gaussians:
    return lopsided(200)


@pytest.fixture(scope="module")
def gallery(model: Gaussians, cameras: list[Camera]) -> list[View]:
    noise = torch.randint(-3, 4, (len(cameras), SIDE, SIDE, 3), generator=torch.Generator().manual_seed(1))
    pictures = [photograph(model, camera) for camera in cameras]
    grainy = [(p.int() + n).clamp(0, 255).byte() for p, n in zip(pictures, noise, strict=True)]
    return [View(f"{i:03d}", camera, p) for i, (camera, p) in enumerate(zip(cameras, grainy, strict=True))]


@pytest.fixture
def inspector(model: Gaussians, gallery: list[View], monkeypatch: pytest.MonkeyPatch) -> Inspector:
    monkeypatch.setattr(bank_module, "VIEWS", 80)
    return Inspector(model, gallery[:12], "gradient")


@pytest.fixture
def photo(model: Gaussians) -> torch.Tensor:
    """A part with a stain."""
    picture = photograph(model, camera_at((0.8, -0.7, 0.5), SIDE, SIDE))
    picture[20:26, 20:26] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    return picture


def test_a_photograph_is_judged_alike_as_array_tensor_and_file(
    inspector: Inspector, photo: torch.Tensor, model: Gaussians, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), photo.numpy()[..., ::-1])
    good = photograph(model, camera_at((0.8, -0.7, 0.5), SIDE, SIDE))
    bad, *same, fine = inspector.inspect_many([photo, photo.numpy(), tmp_path / "photo.png", good])
    assert (bad.decision, fine.decision) == ("DEFECT", "OK")
    assert bad.regions and not fine.regions
    for verdict in same:
        assert torch.equal(verdict.map, bad.map) and verdict.score == bad.score and verdict.regions == bad.regions
    assert bad.map.shape == (SIDE, SIDE) and bad.rendering.shape == (SIDE, SIDE, 3)
    assert bad.pose.converged


def test_what_was_taken_before_is_judged_alike(inspector: Inspector, photo: torch.Tensor) -> None:
    straight, taken = inspector.inspect_many([photo, inspector.take(photo)])
    assert torch.equal(straight.map, taken.map)
    large = inspector.take(photo.repeat_interleave(3, 0).repeat_interleave(3, 1), longest_px=SIDE)
    assert torch.equal(large.image, photo) and (large.camera.width, large.camera.height) == (SIDE, SIDE)
    assert inspector.take(photo, longest_px=SIDE + 1).image.shape == photo.shape


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_photograph_is_refused(inspector: Inspector, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be uint8 .height, width, 3. RGB, got"):
        inspector.inspect(wrong)


def test_a_loaded_inspector_judges_alike_and_learns_nothing(
    inspector: Inspector, photo: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inspector.inspect(photo)
    inspector.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inspector.json", "point_cloud.ply", "tensors.pt"]
    monkeypatch.setattr(Inspector, "_learn", lambda _: pytest.fail("learned a second time"))
    monkeypatch.setattr(bank_module, "make_bank", lambda *_: pytest.fail("made a second time"))
    loaded = Inspector.load(tmp_path)
    after = loaded.inspect(photo)
    assert torch.equal(after.map, before.map) and torch.equal(after.rendering, before.rendering)
    assert (after.score, after.decision, after.regions) == (before.score, before.decision, before.regions)
    assert torch.equal(after.pose.camera.cam_from_world, before.pose.camera.cam_from_world)
    assert loaded.calibration == inspector.calibration
    assert loaded.refiner == inspector.refiner  # which knows the pictures that the model was fitted to
    lax = loaded.calibrate(0.2)
    assert before.decision == "DEFECT" and lax.threshold < inspector.calibrate(0.01).threshold


def test_a_closed_inspector_lets_its_model_go(inspector: Inspector, photo: torch.Tensor, tmp_path: Path) -> None:
    inspector.save(tmp_path)
    with Inspector.load(tmp_path) as loaded:
        assert loaded.inspect(photo).decision == "DEFECT"
        tensors = [weakref.ref(tensor) for tensor in (loaded.gaussians.means, loaded.retriever.bank.distance)]
    assert all(tensor() is None for tensor in tensors)


def test_parts_of_ones_own_have_to_be_given_again(
    model: Gaussians, gallery: list[View], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "VIEWS", 80)
    Inspector(model, gallery[:8], "gradient", refiner=AtTheirPoses()).save(tmp_path)
    with pytest.raises(UserError, match="saved with the refiner none"):
        Inspector.load(tmp_path)
    assert Inspector.load(tmp_path, refiner=AtTheirPoses()).refiner.name == "none"


@pytest.mark.parametrize("name", ["inspector.json", "point_cloud.ply", "tensors.pt"])
def test_a_damaged_folder_is_named(inspector: Inspector, tmp_path: Path, name: str) -> None:
    inspector.save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=str(tmp_path)):
        Inspector.load(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=str(tmp_path)):
        Inspector.load(tmp_path)


def test_a_save_that_was_cut_off_leaves_no_mixture(
    inspector: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector.save(tmp_path)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inspector_files, "write_bytes", cut_off)
    with pytest.raises(KeyboardInterrupt):
        inspector.save(tmp_path)
    with pytest.raises(UserError, match="inspector.json is missing"):
        Inspector.load(tmp_path)


def test_too_few_good_views_make_no_decisions(
    model: Gaussians, gallery: list[View], photo: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    inspector = Inspector(model, gallery[:3], "gradient", config=InspectConfig(hypotheses=1))
    verdict = inspector.inspect(photo)
    assert verdict.decision is None and verdict.regions == []
    compared = Comparison(verdict.map, verdict.score, verdict.rendering)
    assert inspector.decide(compared, replace(verdict.pose, converged=False)).decision == "NOT LOCALISED"
    assert "no decisions: a threshold needs at least 5" in caplog.text


def test_threshold_and_residuals_come_from_views_that_training_did_not_see(
    model: Gaussians, cameras: list[Camera]
) -> None:
    """Views that the model knows are its own renderings here, the others are not."""
    known = lopsided(200, seed=3)
    held_out = split([View(str(i), camera, photograph(model, camera)) for i, camera in enumerate(cameras)]).held_out
    names = {view.name for view in held_out}
    seen = [View(str(i), c, photograph(known, c)) for i, c in enumerate(cameras) if str(i) not in names]
    told = Inspector(known, seen, "gradient", held_out=held_out, refiner=AtTheirPoses())
    untold = Inspector(known, [*seen, *held_out], "gradient", refiner=AtTheirPoses())
    alone = Inspector(known, held_out, "gradient", refiner=AtTheirPoses())
    assert [(len(x.usual.seen_scores), len(x.usual.held_out_scores)) for x in (told, untold)] == [(40, 8), (48, 0)]
    residuals = [x.usual.normality.floor for x in (told, untold, alone) if x.usual.normality is not None]
    assert all(torch.equal(a, b) for a, b in zip(residuals[0], residuals[2], strict=True))
    assert not torch.equal(residuals[0][0], residuals[1][0])
    assert told.calibration is not None and (told.calibration.views, told.calibration.inflation) == (48, 1.0)
    assert untold.calibration is not None and untold.calibration.inflation == ScoreConfig.fast().inflation


def test_good_views_tell_how_much_a_pose_may_leave_unexplained(inspector: Inspector, photo: torch.Tensor) -> None:
    assert inspector.config.most_unexplained is None
    assert inspector.inspect(photo).decision == "DEFECT"
    limit = inspector.config.most_unexplained
    assert limit is not None and 0.1 < limit < 0.3  # well below the default: these views fit
    assert inspector.refiner.judge.most_unexplained == limit
    stranger = torch.full_like(photo, 255)
    stranger[10:40, 5:12] = 0
    assert inspector.inspect(stranger).decision == "NOT LOCALISED"


def over_clutter(picture: torch.Tensor, model: Gaussians, camera: Camera, seed: int) -> torch.Tensor:
    """The photograph as it would have been taken on a table with a picture on it."""
    alpha = render(model, [camera], (0.0, 0.0, 0.0)).alpha[0, ..., None]
    table = torch.randint(40, 200, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(seed))
    return (picture - 255 * (1 - alpha) + (1 - alpha) * table).round().clamp(0, 255).byte()


def with_alpha(picture: torch.Tensor, model: Gaussians, camera: Camera) -> torch.Tensor:
    alpha = render(model, [camera], (0.0, 0.0, 0.0)).alpha[0, ..., None]
    return torch.cat((picture, (255 * alpha).round().byte()), 2)


def test_a_poor_cut_out_of_a_good_part_is_no_defect_and_a_stain_is_one(
    model: Gaussians, gallery: list[View], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A query is cut out by its colors alone, so that pieces of it are missing and some of the table is left."""
    monkeypatch.setattr(bank_module, "VIEWS", 80)
    views = [
        replace(v, uncut=with_alpha(over_clutter(v.image, model, v.camera, i), model, v.camera))
        for i, v in enumerate(gallery)
    ]
    inspector = Inspector(model, views, "gradient")
    camera = camera_at((0.8, -0.7, 0.5), SIDE, SIDE)
    good = over_clutter(photograph(model, camera), model, camera, 99)
    stained = good.clone()
    stained[20:26, 20:26] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    alpha = 255 * (render(model, [camera], (0.0, 0.0, 0.0)).alpha[0].numpy() > 0.5).astype(np.uint8)
    rows, columns = np.nonzero(alpha)
    alpha[int(np.quantile(rows, 0.85)) :] = 0  # a leg that looks like the table
    alpha[rows.min() + 4 : rows.min() + 10, columns.max() : columns.max() + 6] = 255  # a shadow
    for name, picture in (("good", good), ("stained", stained)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.dstack([picture.numpy()[..., ::-1], alpha]))
    inspector.save(tmp_path / "saved")
    for judge in (inspector, Inspector.load(tmp_path / "saved")):
        fine, bad = judge.inspect_many([tmp_path / "good.png", tmp_path / "stained.png"])
        assert (fine.decision, bad.decision) == ("OK", "DEFECT")
