"""poses.json and what an interrupted run goes on from."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.geometry import se3_exp
from gaussian_splatting.pose.types import PoseEstimate
from PAD_utils.run.outputs import PoseFile

KEYS = ["Burrs/0.png", "good/1.png"]


@pytest.fixture
def cameras() -> dict[str, Camera]:
    return {key: Camera.from_blender(torch.eye(4), 0.69, 32, 24) for key in KEYS}


@pytest.fixture
def estimates(cameras: dict[str, Camera]) -> list[PoseEstimate]:
    """As refiners give them: motions that are rigid to single precision only."""
    twists = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0, 3, 0, 0, 0])
    poses = [camera.moved(se3_exp(twist)) for camera, twist in zip(cameras.values(), twists, strict=True)]
    return [PoseEstimate(poses[0], 0.1, 7, True), PoseEstimate(poses[1], math.pi, 9, False, "no overlap")]


@pytest.mark.determinism
def test_poses_read_again_are_the_same_to_the_bit(
    tmp_path: Path, cameras: dict[str, Camera], estimates: list[PoseEstimate]
) -> None:
    first = PoseFile(tmp_path, "mark", cameras)
    first.add(KEYS, estimates, 1.5, 2.5)
    first.finish(KEYS)
    written = (tmp_path / "poses.json").read_bytes()
    again = PoseFile(tmp_path, "mark", cameras)
    again.finish(KEYS)
    assert (tmp_path / "poses.json").read_bytes() == written
    assert (again.retrieve_seconds, again.refine_seconds) == (1.5, 2.5)
    for key, estimate in zip(KEYS, estimates, strict=True):
        for file in (first, again):
            assert torch.equal(file.estimates[key].camera.cam_from_world, estimate.camera.cam_from_world)
            assert file.estimates[key].reason == estimate.reason


def test_a_cost_that_is_no_number_becomes_null(
    tmp_path: Path, cameras: dict[str, Camera], estimates: list[PoseEstimate]
) -> None:
    failed = [replace(estimate, cost=cost) for estimate, cost in zip(estimates, (math.nan, math.inf), strict=True)]
    PoseFile(tmp_path, "mark", cameras).add(KEYS, failed, 1.5, 2.5)
    again = PoseFile(tmp_path, "mark", cameras)
    again.finish(KEYS)
    written = json.loads((tmp_path / "poses.json").read_text())
    assert [written[key]["cost"] for key in KEYS] == [None, None]
    assert math.isnan(again.estimates[KEYS[0]].cost)


def test_poses_of_other_input_are_not_taken_over(
    tmp_path: Path, cameras: dict[str, Camera], estimates: list[PoseEstimate]
) -> None:
    PoseFile(tmp_path, "mark", cameras).add(KEYS, estimates, 1.5, 2.5)
    assert PoseFile(tmp_path, "another", cameras).estimates == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: "{",
        lambda saved: "[]",
        lambda saved: json.dumps({**saved, "poses": None}),
        lambda saved: json.dumps({**saved, "refine_seconds": None}),
        lambda saved: json.dumps({**saved, "poses": {"other/1.png": saved["poses"][KEYS[0]]}}),
        lambda saved: json.dumps(saved).replace("cam_from_world", "world_from_camera"),
        lambda saved: json.dumps(saved).replace("[0.0, 0.0, 0.0, 1.0]", "[0.0, 0.0, NaN, 1.0]"),
    ],
)
def test_damaged_poses_are_found_anew(
    tmp_path: Path,
    cameras: dict[str, Camera],
    estimates: list[PoseEstimate],
    caplog: pytest.LogCaptureFixture,
    damage: object,
) -> None:
    assert callable(damage)
    PoseFile(tmp_path, "mark", cameras).add(KEYS, estimates, 1.5, 2.5)
    path = tmp_path / "poses.partial.json"
    path.write_text(damage(json.loads(path.read_text())))
    file = PoseFile(tmp_path, "mark", cameras)
    assert file.estimates == {} and file.refine_seconds == 0.0
    assert "poses.partial.json is damaged" in caplog.text
