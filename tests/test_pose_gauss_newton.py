"""Gauss-Newton pose refinement: exact on clean pictures, and the known-bad cases of inspection."""

from dataclasses import replace

import pytest
import torch
from diff_gaussian_rasterization.cpu.loader import cpu_library
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import check_rigid
from gaussian_splatting.pose.adam import AdamRefiner
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.pyramid import blur, shrink
from gaussian_splatting.pose.search import best_rivals
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.pose.solve import start_state
from gaussian_splatting.pose.types import Refiner
from gaussian_splatting.rendering import render
from tests.pose_scene import ANGLE_X, camera_at, disturbed, lopsided, photograph, pose_error, rolled

pytestmark = pytest.mark.skipif(cpu_library() is None, reason="plain torch takes minutes here")
SIZE = 128


@pytest.fixture(scope="module")
def model() -> Gaussians:
    return lopsided(500)


def refine(model: Gaussians, picture: Tensor, start: Camera) -> Camera:
    """The refined camera of one picture, which must be trusted."""
    (estimate,) = GaussNewtonRefiner().refine(model, picture[None], [[start]])
    assert estimate.converged, estimate.reason
    check_rigid("estimate", estimate.camera.cam_from_world)
    return estimate.camera


@pytest.mark.parametrize("degrees", [3.0, 20.0])
def test_a_clean_picture_is_found_exactly(model: Gaussians, degrees: float) -> None:
    true = camera_at((1, 0.3, 0.4), SIZE, SIZE)
    found = refine(model, photograph(model, true), disturbed(true, model, degrees, 0.1, 1))
    assert pose_error(found, true).rotation_deg < 0.02 and pose_error(found, true).translation < 0.002
    again = (render(model, [found]).image[0].clamp(0, 1) * 255).round().permute(1, 2, 0)
    assert (again - photograph(model, true)).abs().mean() < 0.5  # of 255: its camera renders its picture


@pytest.mark.parametrize("sh_degree", [1, 3])
def test_colors_that_depend_on_the_view(sh_degree: int) -> None:
    shiny = lopsided(400, sh_degree=sh_degree)
    true = camera_at((0.2, 1, -0.3), SIZE, SIZE)
    found = refine(shiny, photograph(shiny, true), disturbed(true, shiny, 8, 0.05, 2))
    assert pose_error(found, true).rotation_deg < 0.03


def test_an_anomaly_over_a_fifth_of_the_object_does_not_pull(model: Gaussians) -> None:
    true = camera_at((1, 0.3, 0.4), SIZE, SIZE)
    toward = true.center / true.center.norm()
    stained = (model.means - 0.4 * toward.float()).norm(dim=1) < 0.37
    missing = (model.means - torch.tensor([0.5, 0.1, 0.35])).norm(dim=1) < 0.2
    sh = model.sh.clone()
    sh[stained] = torch.tensor([0.45, -0.45, -0.45]) / SH_C0
    picture = photograph(replace(model, sh=sh)[~missing], true)
    changed = (picture.int() - photograph(model, true).int()).abs().amax(2) > 30
    object_px = (photograph(model, true).int().amin(2) < 240).sum()
    assert changed.sum() > 0.2 * object_px
    found = refine(model, picture, disturbed(true, model, 8, 0.05, 3))
    assert pose_error(found, true).rotation_deg < 0.3


@pytest.mark.parametrize("exposure", [0.85, 1.15])
def test_a_brighter_or_darker_photograph(model: Gaussians, exposure: float) -> None:
    true = camera_at((-0.5, 0.8, 0.3), SIZE, SIZE)
    picture = (photograph(model, true).float() * exposure).clamp(0, 255).round().to(torch.uint8)
    found = refine(model, picture, disturbed(true, model, 8, 0.05, 4))
    assert pose_error(found, true).rotation_deg < 0.05


def test_a_gray_and_noisy_background(model: Gaussians) -> None:
    true = camera_at((0.4, -0.7, 0.5), SIZE, SIZE)
    noise = 4 * torch.randn(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    picture = (photograph(model, true).float() * 0.97 + noise).clamp(0, 255).round().to(torch.uint8)
    found = refine(model, picture, disturbed(true, model, 8, 0.05, 5))
    assert pose_error(found, true).rotation_deg < 0.2


@pytest.mark.parametrize("shift_px", [12, 45])
def test_an_object_off_center_or_cut_by_the_frame(model: Gaussians, shift_px: int) -> None:
    middle = camera_at((1, -0.3, 0.4), SIZE, SIZE)
    pose = middle.cam_from_world.clone()
    pose[0, 3] += shift_px * 3.5 / middle.fx
    true = middle.moved(pose)
    picture = photograph(model, true)
    assert (picture[:, -1].int().amin() < 200) == (shift_px == 45)
    found = refine(model, picture, disturbed(true, model, 6, 0.05, 6))
    assert pose_error(found, true).rotation_deg < 0.1


def test_other_shapes_of_picture_and_fields_of_view(model: Gaussians) -> None:
    blank = Camera.from_blender(torch.eye(4, dtype=torch.float64), 1.3 * ANGLE_X, 160, 120)
    true = rolled(blank.moved(camera_at((-1, 0.2, 0.5)).cam_from_world), 40)
    found = refine(model, photograph(model, true), disturbed(true, model, 8, 0.05, 7))
    assert (found.width, found.height) == (160, 120)
    assert pose_error(found, true).rotation_deg < 0.05


def test_the_right_hypothesis_wins_on_a_nearly_symmetric_object(model: Gaussians) -> None:
    symmetric = with_its_half_turn(model)
    symmetric.sh[:30] = torch.tensor([0.4, -0.4, -0.4]) / SH_C0  # a few marks tell front from back
    true, behind = camera_at((1, 0.5, 0.3), SIZE, SIZE), camera_at((-1, -0.5, 0.3), SIZE, SIZE)
    starts = [disturbed(behind, symmetric, 5, 0.05, 8), disturbed(true, symmetric, 10, 0.05, 9)]
    (estimate,) = GaussNewtonRefiner().refine(symmetric, photograph(symmetric, true)[None], [starts])
    assert pose_error(estimate.camera, true).rotation_deg < 0.05


def test_the_back_found_many_times_does_not_displace_the_front() -> None:
    """At 64 px the back of a figure may cost less than its front: then the front must go on too, once."""
    front, back = camera_at((1, 0, 0.2)), camera_at((-1, 0, 0.2))
    near = [disturbed(front, lopsided(30), 1.0, 0.0, seed) for seed in range(3)]
    poses = torch.stack([camera.cam_from_world for camera in (back, near[0], back, near[1], back, near[2])])
    poses = torch.cat((poses, torch.stack([back.cam_from_world] * 3 + [front.cam_from_world] * 3)))
    alive = torch.ones(12, dtype=torch.bool)
    alive[9] = False  # what fills up a shorter list
    state = start_state(torch.arange(2).repeat_interleave(6), poses, alive)
    cost = torch.tensor([0.3, 0.4, 0.31, 0.39, 0.32, 0.41, 0.3, 0.3, 0.3, 0.0, 0.9, torch.nan])
    kept = best_rivals(state, cost, pictures=2, keep=3)
    assert torch.equal(kept.cam_from_world[[0, 1, 3, 4]], poses[[0, 3, 6, 10]])
    assert kept.alive.tolist() == [True, True, False, True, True, False]
    assert kept.picture.tolist() == [0, 0, 0, 1, 1, 1]
    assert best_rivals(state, cost, 2, keep=2, margin=2.0).alive.tolist() == [True, True, True, False]


def with_its_half_turn(model: Gaussians) -> Gaussians:
    """The model together with itself turned by half a turn about z."""
    means = model.means * torch.tensor([-1.0, -1.0, 1.0])
    quats = model.quats[:, [3, 2, 1, 0]] * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    twin = replace(model, means=means, quats=quats).as_dict()
    return Gaussians(**{name: torch.cat((tensor, twin[name])) for name, tensor in model.as_dict().items()})


def test_another_object_and_an_empty_picture_are_reported(model: Gaussians) -> None:
    true = camera_at((1, 0.3, 0.4), SIZE, SIZE)
    stranger = lopsided(300, seed=5)
    stranger = replace(stranger, means=stranger.means.roll(1, 1) * torch.tensor([0.6, 1.3, 0.9]))
    pictures = torch.stack([photograph(stranger, true), torch.full((SIZE, SIZE, 3), 250, dtype=torch.uint8)])
    other, empty = GaussNewtonRefiner().refine(model, pictures, [[true], [true]])
    assert not other.converged and other.reason
    assert not empty.converged and "background" in str(empty.reason)


@pytest.mark.determinism
def test_a_pose_does_not_depend_on_the_number_of_threads(model: Gaussians) -> None:
    camera = camera_at((1, 0.3, 0.4), SIZE, SIZE)
    picture, start = photograph(model, camera)[None], [[disturbed(camera, model, 9, 0.05, 1)]]
    usual, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found += GaussNewtonRefiner().refine(model, picture, start)
    finally:
        torch.set_num_threads(usual)
    for one in found[1:]:
        assert torch.equal(one.camera.cam_from_world, found[0].camera.cam_from_world) and one.cost == found[0].cost


@pytest.mark.determinism
def test_a_batch_gives_what_each_gives_alone(model: Gaussians) -> None:
    cameras = [camera_at(d, SIZE, SIZE) for d in ((1, 0.3, 0.4), (-0.2, 1, -0.4), (0.5, -0.6, 0.8))]
    pictures = torch.stack([photograph(model, camera) for camera in cameras])
    starts = [[disturbed(camera, model, 5 + i, 0.05, i + j) for j in range(1 + i)] for i, camera in enumerate(cameras)]
    together = GaussNewtonRefiner().refine(model, pictures, starts)
    again = GaussNewtonRefiner().refine(model, pictures, starts)
    for i, (one, same) in enumerate(zip(together, again, strict=True)):
        assert torch.equal(one.camera.cam_from_world, same.camera.cam_from_world) and one.cost == same.cost
        (alone,) = GaussNewtonRefiner().refine(model, pictures[i : i + 1], starts[i : i + 1])
        assert pose_error(alone.camera, one.camera).rotation_deg < 0.01
    assert GaussNewtonRefiner().refine(model, pictures[:0], []) == []


def test_a_merged_model_looks_the_same_in_a_small_picture() -> None:
    """Nearer to the small photograph than the model itself, whose splats swell there."""
    fine = lopsided(6000)
    camera = camera_at((1, 0.3, 0.4), 256, 256)
    small = camera.resized(32, 32)
    wanted = blur(shrink(photograph(fine, camera)[None], 32), 0.2)[0].float() / 255
    few = merged(fine, 1.5 * 3.5 / small.fx)
    assert 50 < len(few) < 1500
    error = [(render(m, [small]).image[0].permute(1, 2, 0) - wanted).square().mean().sqrt() for m in (few, fine)]
    assert error[0] < 0.06 and error[0] < error[1]


def test_merging_nothing_changes_nothing() -> None:
    model = lopsided(60)
    same = merged(model, 1e-4)
    camera = camera_at((1, 0.3, 0.4), 48, 48)
    torch.testing.assert_close(
        render(replace(same, opacity_logits=torch.full_like(same.opacity_logits, 3.0)), [camera]).image,
        render(model, [camera]).image, atol=2e-3, rtol=0,
    )  # fmt: skip


@pytest.mark.determinism
@pytest.mark.parametrize("refiner", [GaussNewtonRefiner(), AdamRefiner(steps=4)], ids=["gauss-newton", "adam"])
def test_a_pose_does_not_depend_on_the_other_pictures(model: Gaussians, refiner: Refiner) -> None:
    cameras = [camera_at(direction, SIZE, SIZE) for direction in ((1, 0.3, 0.4), (0.2, 1.4, -0.3), (-0.5, 0.4, 0.7))]
    further = cameras[1].cam_from_world.clone()
    further[2, 3] += 1  # simplified models of its own
    cameras[1] = cameras[1].moved(further)
    pictures = torch.stack([photograph(model, camera) for camera in cameras])
    starts = [[disturbed(camera, model, 9, 0.05, seed)] for seed, camera in enumerate(cameras)]
    together = refiner.refine(model, pictures, starts)
    for i in range(3):
        (alone,) = refiner.refine(model, pictures[i : i + 1], starts[i : i + 1])
        assert torch.equal(alone.camera.cam_from_world, together[i].camera.cam_from_world)
        assert alone.cost == together[i].cost


def test_noise_of_the_background_alone_is_not_taken_for_a_wrong_pose(model: Gaussians) -> None:
    true = camera_at((0.4, -0.7, 0.5), SIZE, SIZE)
    drawn = render(model, [true], (0.5, 0.5, 0.5))
    noise = (1 - drawn.alpha[0, ..., None]) * torch.randn(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    still, noisy = (
        (255 * drawn.image[0].clamp(0, 1).permute(1, 2, 0) + level * noise).round().clamp(0, 255).to(torch.uint8)
        for level in (0, 8)
    )
    unexplained = []
    for picture in (still, noisy):
        camera = disturbed(true, model, 8, 0.05, 5)
        estimate = GaussNewtonRefiner().refine(model, picture[None], [[camera]])[0]
        assert estimate.converged and estimate.unexplained is not None
        unexplained.append(estimate.unexplained)
    assert unexplained[1] < unexplained[0] + 0.02
