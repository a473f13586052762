"""The world is normalized at loading: unit and origin of the user's do not matter, and results are in the user's."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_class import NAME
from pose_scene import lopsided

from gaussian_splatting.camera import Camera, common_center
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.world import DISTANCE, World
from PAD_utils.data.mad import load_class

MOVES = [(1e-3, 0.0), (1e3, 0.0), (0.06, 5.0), (1.0, 1e6)]


def rescale(root: Path, scale: float, shift: float) -> None:
    for name in ("transforms.json", "transforms_test.json"):
        content = json.loads((root / name).read_text())
        for frame in content["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, 3] = matrix[:3, 3] * scale + [shift, -shift, 0.5 * shift]
            frame["transform_matrix"] = matrix.tolist()
        (root / name).write_text(json.dumps(content))


def test_the_cameras_look_at_the_origin_from_one_distance(fake_mad: Path) -> None:
    cameras = [view.camera for view in load_class(fake_mad, NAME).gallery]
    assert torch.stack([camera.center for camera in cameras]).norm(dim=1).median().item() == pytest.approx(
        DISTANCE, 1e-5
    )
    torch.testing.assert_close(common_center(cameras), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale, shift", MOVES)
def test_cameras_are_the_same_to_the_bit_in_any_unit_and_place(fake_mad: Path, scale: float, shift: float) -> None:
    expected = load_class(fake_mad, NAME)
    rescale(fake_mad / NAME, scale, shift)
    data = load_class(fake_mad, NAME)
    pairs = [(a.camera, b.camera) for a, b in zip(data.gallery, expected.gallery, strict=True)]
    pairs += [(a.camera, b.camera) for a, b in zip(data.test, expected.test, strict=True)]
    for got, want in pairs:
        assert torch.equal(got.cam_from_world, want.cam_from_world)
        matrix, original = data.world.outward(got.to_blender()), expected.world.outward(want.to_blender())
        moved = original[:3, 3] * scale + torch.tensor([shift, -shift, 0.5 * shift], dtype=torch.float64)
        assert (matrix[:3, 3] - moved).norm() < 1e-6 * scale * 3


@pytest.mark.parametrize("scale, shift", MOVES)
def test_a_model_is_written_in_the_users_world_and_read_back(tmp_path: Path, scale: float, shift: float) -> None:
    world, model = World((shift, 0.0, -shift), 1 / scale), lopsided(50, sh_degree=1)
    save_ply(tmp_path / "model.ply", model, world)
    back, users = load_ply(tmp_path / "model.ply", world), load_ply(tmp_path / "model.ply")
    torch.testing.assert_close(back.means, model.means, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.log_scales, model.log_scales, atol=1e-5, rtol=0)
    save_ply(tmp_path / "other.ply", model, World((0.0, 0.0, 0.0), 2.7))
    same = load_ply(tmp_path / "other.ply", World((0.0, 0.0, 0.0), 2.7))
    if (scale, shift) != (0.06, 5.0):  # 83 units away and written as float32
        assert torch.equal(back.means, same.means)
    assert torch.equal(back.log_scales, same.log_scales)
    assert torch.equal(back.sh, model.sh) and torch.equal(back.quats, model.quats)
    torch.testing.assert_close(users.scales, model.scales * scale, atol=0, rtol=1e-5)
    expected = model.means * scale + torch.tensor([shift, 0, -shift])
    torch.testing.assert_close(users.means, expected, atol=1e-6 * scale, rtol=1e-6)


def test_the_common_center_follows_the_pictures_middles_not_the_axes() -> None:
    """A crop off the middle moves the principal point; the part is still in the middle of the picture."""
    blank = Camera(64, 64, 80.0, 80.0, 32.0, 32.0, torch.eye(4, dtype=torch.float64))
    cameras = []
    for angle in (0.0, 1.0, 2.0):
        turn = torch.eye(4, dtype=torch.float64)
        turn[:2, :2] = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        tilt = torch.tensor([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
        pose = tilt @ turn
        pose[2, 3] = 5
        cameras.append(blank.moved(pose))
    assert common_center(cameras).norm() < 1e-6
    off = [replace(camera, cx=20.0, cam_from_world=camera.cam_from_world.clone()) for camera in cameras]
    for camera in off:
        camera.cam_from_world[0, 3] += 5 * 12 / 80
    assert common_center(off).norm() < 1e-6


def test_views_that_do_not_show_the_object_are_one_warning(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fake_mad / NAME / "transforms.json"
    content = json.loads(path.read_text())
    for i in (2, 5):
        matrix = np.array(content["frames"][i]["transform_matrix"])
        matrix[:3, :3] = matrix[:3, :3] @ np.diag([-1, 1, -1])  # turned away
        content["frames"][i]["transform_matrix"] = matrix.tolist()
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        load_class(fake_mad, NAME)
    (record,) = caplog.records
    assert "2 of 18 training views do not show" in record.getMessage() and "(2, 5)" in record.getMessage()
