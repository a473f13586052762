"""Poses on photographs of a part in surroundings, cut out by the model itself."""

import math

import pytest
import torch

from gaussian_splatting import Camera, Gaussians
from gaussian_splatting.gaussians import SH_C0
from gaussian_splatting.geometry import rotation_angle
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.rendering import render
from PAD_utils.in_place import explained, refine_in_place
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


def on_floor(model: Gaussians, seed: int) -> Gaussians:
    """The object on a colorful floor."""
    generator = torch.Generator().manual_seed(seed)
    low, count = model.means[:, 2].min().item() - 0.3, 1500  # clear of the object
    means = torch.cat((4 * torch.rand(count, 2, generator=generator) - 2, torch.full((count, 1), low)), dim=1)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    sh = torch.zeros(count, *model.sh.shape[1:])
    sh[:, 0] = (torch.rand(count, 3, generator=generator) - 0.5) * 0.8 / SH_C0
    floor = Gaussians(means, torch.full((count, 3), math.log(0.08)), quats, torch.full((count,), 4.0), sh)
    return Gaussians(**{name: torch.cat((v, floor.as_dict()[name])) for name, v in model.as_dict().items()})


def degrees_off(camera: Camera, true: Camera) -> float:
    return math.degrees(rotation_angle(camera.cam_from_world[:3, :3] @ true.cam_from_world[:3, :3].T).item())


@pytest.mark.parametrize("floor", [1, 2])
def test_surroundings_hold_a_pose_where_they_are_known_and_do_no_harm_where_not(floor: int) -> None:
    model, true = lopsided(), camera_at((0.8, -0.7, 0.5), SIDE, SIDE)
    in_place, refiner = on_floor(model, 1), GaussNewtonRefiner()
    picture = render(on_floor(model, floor), [true], (0.0, 0.0, 0.0)).image.clamp(0, 1)
    photographs = (255 * picture).round().byte().permute(0, 2, 3, 1).contiguous()
    found = refine_uncut(model, photographs, [disturbed(true, model, 12.0, 0.1, 0)], refiner, WHITE)
    again = refine_in_place(model, in_place, photographs, found, refiner, WHITE)
    if floor == 1:
        assert degrees_off(again[0].camera, true) < 0.01 < degrees_off(found[0].camera, true)
        assert explained(model, in_place, photographs, [true]) > 0.95
    else:
        assert again[0] is found[0]
