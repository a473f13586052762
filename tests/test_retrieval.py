"""Coarse poses: thumbnails that do not change with shift, scale and roll, and banks of the gallery and of the model."""

from dataclasses import replace

import pytest
import torch

from gaussian_splatting.camera import Camera, common_center
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid, so3_exp
from gaussian_splatting.pose.types import PoseEstimate
from gaussian_splatting.rendering import render
from gaussian_splatting.views import View
from PAD_utils.pose import bank as bank_module
from PAD_utils.pose.bank import bank_retriever, fibonacci_sphere, make_bank, view_sphere
from PAD_utils.pose.localize import localize
from PAD_utils.pose.retrieval import axis_to_ray, gallery_retriever
from PAD_utils.pose.silhouette import ANGLES, make_thumbnails
from tests.pose_scene import camera_at, lopsided, photograph, pose_error, rolled


@pytest.fixture(scope="module")
def model() -> Gaussians:
    return lopsided()


@pytest.fixture(scope="module")
def gallery(model: Gaussians) -> list[View]:
    cameras = [camera_at(tuple(direction.tolist())) for direction in fibonacci_sphere(60)]
    return [View(str(i), camera, photograph(model, camera)) for i, camera in enumerate(cameras)]


def away(camera: Camera, distance: float, turn: tuple[float, float]) -> Camera:
    """Pushed back along the axis by `distance`, then turned so that the object leaves the middle of the frame."""
    pose = camera.cam_from_world.clone()
    pose[2, 3] += distance
    aim = so3_exp(torch.tensor([turn[0], turn[1], 0.0], dtype=torch.float64))
    return camera.moved(rigid(aim, torch.zeros(3, dtype=torch.float64)) @ pose)


def test_thumbnails_turn_shift_and_scale_into_numbers(model: Gaussians) -> None:
    camera = camera_at((1, 0.3, 0.2), 96, 96)
    quarter = rolled(camera, 90)
    far = away(camera, 1.5, (0.05, -0.08))
    pictures = torch.stack([photograph(model, c) for c in (camera, quarter, far)])
    thumbnails = make_thumbnails(pictures, [camera] * 3)
    straight, turned, moved = thumbnails.polar
    assert torch.norm(turned - straight.roll(ANGLES // 4, 2)) < 0.1 * straight.norm()
    assert torch.norm(moved - straight) < 0.3 * straight.norm()
    assert thumbnails.size[0] / thumbnails.size[2] == pytest.approx((3.5 + 1.5) / 3.5, rel=0.05)


def test_thumbnails_of_an_empty_picture_are_finite() -> None:
    thumbnails = make_thumbnails(torch.full((1, 40, 30, 3), 255, dtype=torch.uint8), [camera_at((1, 0, 0), 30, 40)])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in vars(thumbnails).values())
    assert thumbnails.polar.abs().max() == 0


def test_axis_to_ray_takes_the_axis_to_the_ray() -> None:
    ray = torch.tensor([[0.3, -0.2], [0.0, 0.0]], dtype=torch.float64)
    direction = (axis_to_ray(ray) @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).numpy()
    assert direction[0, :2] / direction[0, 2] == pytest.approx([0.3, -0.2])
    assert direction[1] == pytest.approx([0, 0, 1])


def test_common_center_is_where_the_cameras_look(gallery: list[View]) -> None:
    center = common_center([view.camera for view in gallery])
    torch.testing.assert_close(center, torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("roll", [0.0, 130.0])
def test_gallery_finds_the_pose_whatever_roll_distance_and_place(
    model: Gaussians, gallery: list[View], roll: float
) -> None:
    true = [away(rolled(camera_at(d), roll), 0.6, (0.05, 0.06)) for d in ((1, 0.2, 0.3), (-0.5, 1, -0.4))]
    retriever = gallery_retriever(gallery, "cpu")
    found = retriever.hypotheses(torch.stack([photograph(model, camera) for camera in true]), true, 8)
    for camera, candidates in zip(true, found, strict=True):
        best = min((pose_error(c, camera) for c in candidates), key=lambda e: e.rotation_deg)
        assert best.rotation_deg < 16  # 60 views on a sphere are 28 degrees apart
        assert best.translation < 0.35 * 4.1
        for i, one in enumerate(candidates):
            assert all(pose_error(one, other).rotation_deg >= 11.9 for other in candidates[:i])


def test_rectangular_queries_of_another_field_of_view(model: Gaussians, gallery: list[View]) -> None:
    blank = Camera.from_blender(torch.eye(4, dtype=torch.float64), 1.1, 120, 80)
    true = blank.moved(camera_at((0.3, -1, 0.4)).cam_from_world)
    retriever = gallery_retriever(gallery, "cpu")
    (candidates,) = retriever.hypotheses(photograph(model, true)[None], [blank], 8)
    best = min(candidates, key=lambda c: pose_error(c, true).rotation_deg)
    assert (best.width, best.height) == (120, 80) and best.fx == pytest.approx(true.fx)
    assert pose_error(best, true).rotation_deg < 16 and pose_error(best, true).translation < 1.2


def test_the_bank_of_the_model_finds_its_pictures(
    model: Gaussians, gallery: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "VIEWS", 80)
    retriever = bank_retriever(model, gallery)
    true = camera_at((0.8, -0.7, 0.5), 100, 100)
    (candidates,) = retriever.hypotheses(photograph(model, true)[None], [true], 4)
    assert min(pose_error(c, true).rotation_deg for c in candidates) < 15


def test_training_views_are_among_the_first_poses(
    model: Gaussians, gallery: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "VIEWS", 20)
    retriever = bank_retriever(model, gallery)
    (candidates,) = retriever.hypotheses(gallery[7].image[None], [gallery[7].camera], 4)
    assert pose_error(candidates[0], gallery[7].camera).rotation_deg < 0.1


def test_gaussians_that_no_training_view_shows_do_not_disturb_the_bank(
    model: Gaussians, gallery: list[View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "VIEWS", 40)
    ring = [view.camera for view in gallery if abs(view.camera.center[2]) < 1]
    floaters = replace(model, means=model.means * 0.1 + torch.tensor([0.0, 0.0, 2.5]))
    both = Gaussians(**{k: torch.cat((v, floaters.as_dict()[k])) for k, v in model.as_dict().items()})
    expected, bank = make_bank(model, ring), make_bank(both, ring)
    torch.testing.assert_close(bank.thumbnails.size, expected.thumbnails.size)
    torch.testing.assert_close(bank.thumbnails.polar, expected.thumbnails.polar)


def test_the_bank_sees_no_wider_than_the_training_views(model: Gaussians) -> None:
    close = [camera_at((x, 1, 0.2)) for x in (-0.5, 0.0, 0.5)]
    narrow = [replace(camera, fx=4 * camera.fx, fy=4 * camera.fy) for camera in close]
    (slope,) = {camera.width / camera.fx for camera in view_sphere(model, narrow)}
    assert slope == pytest.approx(narrow[0].width / narrow[0].fx)


def test_bank_keeps_to_directions_that_were_seen(model: Gaussians, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "VIEWS", 60)
    above = [camera_at((x, y, 1.0)) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]
    bank = make_bank(model, above)
    heights = [above[0].moved(pose).center[2].item() for pose in bank.cam_from_world]
    assert 0 < len(heights) < 40 and min(heights) > 0.2


def test_localize_times_both_stages_and_passes_the_hypotheses_on(model: Gaussians, gallery: list[View]) -> None:
    class Keep:
        name = "keep"

        def refine(self, gaussians, images, hypotheses):  # type: ignore[no-untyped-def]
            return [PoseEstimate(cameras[0], float(len(cameras)), 0, True) for cameras in hypotheses]

    pictures, cameras = torch.stack([view.image for view in gallery[:3]]), [view.camera for view in gallery[:3]]
    found = localize(model, pictures, cameras, gallery_retriever(gallery, "cpu"), Keep(), hypotheses=2)
    assert [estimate.cost for estimate in found.estimates] == [2.0, 2.0, 2.0]
    for view, estimate in zip(gallery, found.estimates, strict=False):
        assert pose_error(estimate.camera, view.camera).rotation_deg < 1
    assert found.seconds_retrieve > 0 and found.seconds_refine >= 0
    with pytest.raises(ValueError, match="at least 1"):
        localize(model, pictures, cameras, gallery_retriever(gallery, "cpu"), Keep(), hypotheses=0)


@pytest.mark.parametrize("color", [(128, 128, 128), (200, 165, 125), (20, 40, 90)])
def test_an_object_that_lies_elsewhere_is_found_as_well_and_so_are_its_neighbors(
    model: Gaussians, gallery: list[View], color: tuple[int, int, int]
) -> None:
    """The bank shows it on white. Neighbors in the same batch keep their first poses."""
    blank = [camera_at((1, y, 0.3)) for y in (-0.6, 0.1, 0.8)]
    retriever = gallery_retriever(gallery, "cpu")
    on_white = torch.stack([photograph(model, camera) for camera in blank])
    moved = on_white.clone()
    for i in (0, 2):
        drawn = render(model, [blank[i]], tuple(c / 255 for c in color)).image[0].clamp(0, 1)
        moved[i] = (255 * drawn.permute(1, 2, 0)).round().byte()
    wanted, found = (retriever.hypotheses(pictures, blank, 4) for pictures in (on_white, moved))
    for i in (0, 2):
        nearest = [min(pose_error(one, blank[i]).rotation_deg for one in cameras[i]) for cameras in (wanted, found)]
        assert nearest[1] < nearest[0] + 2
    for one, same in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(one.cam_from_world, same.cam_from_world)
