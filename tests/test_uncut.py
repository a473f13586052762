"""Poses on photographs of a part in surroundings, cut out by the model itself."""

import pytest
import torch

from gaussian_splatting.geometry import rotation_angle
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.rendering import render
from PAD_utils.pose import localize
from PAD_utils.pose.localize import refine_uncut
from tests.pose_scene import camera_at, disturbed, lopsided

SIDE, WHITE = 128, (1.0, 1.0, 1.0)


def test_a_cut_at_a_wrong_pose_holds_the_pose_back_and_a_cut_farther_along_frees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, true = lopsided(), camera_at((0.8, -0.7, 0.5), SIDE, SIDE)
    drawn = render(model, [true], (0.0, 0.0, 0.0))
    table = torch.randint(90, 160, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(0))
    picture = 255 * drawn.image[0].permute(1, 2, 0) + (1 - drawn.alpha[0, ..., None]) * table
    photographs = picture.round().clamp(0, 255).byte().repeat(2, 1, 1, 1)
    starts = [disturbed(true, model, 12.0, 0.1, seed) for seed in (0, 2)]
    errors = []
    for tries in (0, localize._TRIES):
        monkeypatch.setattr(localize, "_TRIES", tries)
        found = refine_uncut(model, photographs, starts, GaussNewtonRefiner(), WHITE)
        turns = [e.camera.cam_from_world[:3, :3] @ true.cam_from_world[:3, :3].T for e in found]
        errors.append(torch.rad2deg(rotation_angle(torch.stack(turns))))
    assert (errors[0] > 2.5).all() and (errors[1] < 0.5 * errors[0]).all(), errors
