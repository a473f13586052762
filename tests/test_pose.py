"""Moving cameras about an object, measuring how far two poses are apart, and the paper's refinement."""

import math

import pytest
import torch
from diff_gaussian_rasterization import photometric_loss

from gaussian_splatting.geometry import check_rigid
from gaussian_splatting.pose.adam import AdamRefiner, learning_rate
from gaussian_splatting.pose.types import object_center, retract
from gaussian_splatting.pose.verdict import PoseJudge
from gaussian_splatting.rendering import render
from tests.pose_scene import camera_at, disturbed, lopsided, photograph, pose_error, rolled


def test_retract_turns_about_the_center() -> None:
    camera = camera_at((1, 2, 1))
    center = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    twist = torch.tensor([[0.02, -0.03, 0.05, 0.4, -0.1, 0.2]], dtype=torch.float64)
    moved = retract(camera.cam_from_world[None], twist, center)[0]
    check_rigid("moved", moved)
    before = camera.cam_from_world[:3, :3] @ center + camera.cam_from_world[:3, 3]
    after = moved[:3, :3] @ center + moved[:3, 3]
    torch.testing.assert_close(after - before, twist[0, :3])
    expected = math.degrees(twist[0, 3:].norm().item())
    assert pose_error(camera.moved(moved), camera).rotation_deg == pytest.approx(expected)


def test_pose_error_is_the_true_angle() -> None:
    camera = camera_at((1, 0, 0.3))
    error = pose_error(rolled(camera, 30), camera)
    assert error.rotation_deg == pytest.approx(30)
    assert error.translation == pytest.approx(0, abs=1e-12)


def test_learning_rate_is_the_papers() -> None:
    assert learning_rate(0) == 1e-3
    assert learning_rate(1) == pytest.approx(0.01 * 0.8**0.01)
    assert learning_rate(174) == pytest.approx(0.01 * 0.8**1.74)


def test_adam_undoes_a_disturbance_and_its_camera_renders_its_picture() -> None:
    model = lopsided(120)
    cameras = [camera_at((1, 1, 0.5), 32, 32), camera_at((-1, 0.4, -0.2), 32, 32)]
    queries = torch.stack([photograph(model, camera) for camera in cameras])
    starts = [[disturbed(camera, model, 5, 0.1, seed)] for seed, camera in enumerate(cameras)]
    estimates = AdamRefiner(steps=70).refine(model, queries, starts)
    for estimate, camera, (start,), query in zip(estimates, cameras, starts, queries, strict=True):
        assert pose_error(estimate.camera, camera).rotation_deg < 0.2 * pose_error(start, camera).rotation_deg
        check_rigid("estimate", estimate.camera.cam_from_world)
        again = photometric_loss(render(model, [estimate.camera]).image, query[None])
        assert again.item() == pytest.approx(estimate.cost, rel=1e-3)
        assert estimate.iterations == 70


def test_adam_starts_from_the_hypothesis_that_looks_most_alike() -> None:
    model = lopsided(120)
    camera = camera_at((1, 1, 0.5), 32, 32)
    wrong, near = camera_at((-1, -1, 0.5), 32, 32), disturbed(camera, model, 4, 0.0)
    (estimate,) = AdamRefiner(steps=0).refine(model, photograph(model, camera)[None], [[wrong, near]])
    torch.testing.assert_close(estimate.camera.cam_from_world, near.cam_from_world, atol=1e-5, rtol=0)


def test_adam_says_when_a_picture_is_not_of_the_object() -> None:
    model, camera = lopsided(120), camera_at((1, 1, 0.5), 32, 32)
    upside_down = photograph(model, camera).flip(0)
    darker = (photograph(model, camera).float() * 0.85).to(torch.uint8)
    pictures = torch.stack((photograph(model, camera), darker, upside_down, torch.full_like(upside_down, 255)))
    good, dark, wrong, empty = AdamRefiner(steps=0).refine(model, pictures, [[camera]] * 4)
    assert good.converged and dark.converged, (good, dark)
    assert not wrong.converged and "unexplained" in str(wrong.reason)
    assert not empty.converged and "background" in str(empty.reason)


def test_a_fit_that_failed_is_not_trusted() -> None:
    assert "not a number" in str(PoseJudge().doubt(math.nan, 1.0))
    assert "settle" in str(PoseJudge().doubt(0.1, 1.0, last_step=0.1))
    assert PoseJudge().doubt(0.1, 1.0) is None


def test_the_judge_learns_what_good_views_leave_unexplained() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = (0.02 * (0.3 * torch.randn(101, generator=generator)).exp()).tolist()
    limit = 0.02 * math.exp(4 * 0.3) + 0.1
    assert PoseJudge.learned(shares).most_unexplained == pytest.approx(limit, rel=0.15)
    outliers = [0.9] * 20 + [math.nan, None]
    assert PoseJudge.learned(shares + outliers).most_unexplained == pytest.approx(limit, rel=0.3)
    assert PoseJudge.learned(shares[:4]) == PoseJudge()
    assert PoseJudge.learned([0.8, 0.7, 0.9, 0.8, 0.85]).most_unexplained == 0.9


def test_refiners_say_what_does_not_fit() -> None:
    model, camera = lopsided(10), camera_at((1, 0, 0), 32, 32)
    pictures = torch.zeros(1, 32, 48, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="32x32 camera for a 48x32 picture"):
        AdamRefiner().refine(model, pictures, [[camera]])
    with pytest.raises(ValueError, match="no hypothesis"):
        AdamRefiner().refine(model, pictures, [[]])
    with pytest.raises(ValueError, match="hypotheses for 0"):
        AdamRefiner().refine(model, pictures, [])


def test_object_center_follows_opacity() -> None:
    model = lopsided(50)
    model.opacity_logits[1:] = -30.0
    torch.testing.assert_close(object_center(model), model.means[0], atol=1e-4, rtol=1e-3)
