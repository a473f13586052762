import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gaussian_splatting.camera import Camera
from PAD_utils.evaluate.pose_metrics import PoseError, area_under_recall, pose_error, recall, summarize

LOST = PoseError(math.inf, math.inf)  # no pose was found


def _pose(rotation: Rotation, center: tuple[float, float, float]) -> torch.Tensor:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), center
    return torch.from_numpy(matrix)


def test_values_found_by_hand() -> None:
    here = _pose(Rotation.identity(), (0, 0, 0))
    there = _pose(Rotation.from_euler("z", 90, degrees=True), (3, 4, 0))
    error = pose_error(there, here)
    assert error.translation == pytest.approx(5)
    assert error.rotation_rad == pytest.approx(math.pi / 2) and error.rotation_deg == pytest.approx(90)
    assert pose_error(here, here) == PoseError(0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 0.1, 1.0, 2.0, 3.1, math.pi - 1e-6, math.pi]), st.integers(0, 10**6))
def test_the_angle_is_the_whole_angle_at_both_ends(angle: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    start = Rotation.random(rng=rng)
    turned = start * Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    error = pose_error(_pose(turned, (1, 2, 3)), _pose(start, (1, 2, 3)))
    assert error.rotation_rad == pytest.approx(angle, abs=1e-9)
    assert 0 <= error.rotation_rad <= math.pi
    assert error.translation == 0


def test_the_error_is_the_same_both_ways_and_in_either_axes() -> None:
    rng = np.random.default_rng(1)
    a, b = (_pose(Rotation.random(rng=rng), tuple(rng.normal(size=3))) for _ in range(2))
    there, back = pose_error(a, b), pose_error(b, a)
    assert there.rotation_rad == pytest.approx(back.rotation_rad) and there.translation == back.translation
    cameras = [Camera.from_blender(p, 0.7, 10, 10) for p in (a, b)]
    opencv = pose_error(*(torch.linalg.inv(c.cam_from_world) for c in cameras))
    assert opencv.rotation_rad == pytest.approx(there.rotation_rad)
    assert opencv.translation == pytest.approx(there.translation)


def test_single_precision_poses_are_accepted() -> None:
    pose = _pose(Rotation.from_euler("xyz", (10, 20, 30), degrees=True), (1, 1, 1))
    assert pose_error(pose.float(), pose).rotation_rad < 1e-6


def test_what_is_not_rigid_is_refused_by_name() -> None:
    good = torch.eye(4, dtype=torch.float64)
    scaled, mirrored, broken = good * 2, torch.diag(torch.tensor([-1.0, 1, 1, 1])), good * math.nan
    for bad in (scaled, mirrored, broken):
        with pytest.raises(ValueError, match="estimate"):
            pose_error(bad, good)
        with pytest.raises(ValueError, match="true"):
            pose_error(good, bad)


def test_area_under_recall() -> None:
    # Of two images one is exact, one off by 4: to 5 the share is 1/2 and, from 4 on, 1: (4 * 1/2 + 1) / 5.
    assert area_under_recall([0.0, 4.0], 5.0) == pytest.approx(0.6)
    assert area_under_recall([5.0, math.inf], 5.0) == 0
    rng = np.random.default_rng(0)
    errors = rng.gamma(1.0, 5.0, 50)
    grid = np.linspace(0, 10, 200_001)
    shares = (errors[None] <= grid[::100, None]).mean(1)
    assert area_under_recall(errors, 10.0) == pytest.approx(np.trapezoid(shares, grid[::100]) / 10, abs=1e-3)
    with pytest.raises(ValueError, match="NaN"):
        area_under_recall([math.nan], 5.0)
    with pytest.raises(ValueError, match="threshold"):
        area_under_recall([1.0], 0.0)


def test_summary_counts_lost_images_against_recall_only() -> None:
    errors = [PoseError(0.0, 0.0), PoseError(0.2, math.radians(2)), PoseError(0.1, math.radians(4)), LOST]
    summary = summarize(errors)
    assert summary["n"] == 4 and summary["lost"] == 1
    assert summary["rotation_deg"]["median"] == pytest.approx(2) and summary["rotation_deg"]["mean"] == pytest.approx(2)
    assert summary["rotation_deg"]["std"] == pytest.approx(math.sqrt(8 / 3))
    assert summary["translation"]["mean"] == pytest.approx(0.1)
    assert summary["auc_deg"]["5"] == pytest.approx((1 + 0.6 + 0.2 + 0) / 4)
    assert summary["recall"] == {"0.5 deg, 0.05": 0.25, "1 deg, 0.1": 0.25, "5 deg, 0.25": 0.75}
    assert recall(errors, 3.0) == 0.5 and recall(errors, 180.0) == 0.75
    assert summarize([LOST])["rotation_deg"] is None
    with pytest.raises(ValueError, match="at least one"):
        summarize([])
