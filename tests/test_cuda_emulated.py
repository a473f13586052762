"""The GPU's own kernel sources, run on the host by an emulator, against the plain-torch reference. No GPU is needed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diff_gaussian_rasterization import library
from diff_gaussian_rasterization.cuda import pose as cuda_pose
from diff_gaussian_rasterization.cuda import pose_step as cuda_pose_step
from diff_gaussian_rasterization.cuda import rasterize as cuda
from diff_gaussian_rasterization.cuda.launch import register_runtime
from diff_gaussian_rasterization.reference import pose_step as reference_pose_step
from diff_gaussian_rasterization.reference.pose import pose_normal_equations_reference
from diff_gaussian_rasterization.reference.rasterize import photometric_loss_reference, rasterize_reference
from diff_gaussian_rasterization.types import Forward, Gradients, PictureGradient, Scene, Wanted

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.training.alignment import moved_by
from gaussian_splatting.training.engine_cpu import CpuEngine
from gaussian_splatting.training.engine_cuda import CudaEngine
from gaussian_splatting.training.state import Engine, LossConfig, TrainingState
from tests.cuda_emulator import EmulatedRuntime, available
from tests.golden import CASES, Golden
from tests.splat_scenes import (
    VARIANTS,
    assert_gradients_close,
    crop,
    orbit_scene,
    picture_gradients,
    threshold_scene,
    values_and_gradients,
    variant,
    wide_scene,
)
from tests.test_pose_equations import make_case
from tests.test_pose_step import assert_same
from tests.test_pose_step import steps as pose_steps
from tests.toy_scene import ball, views

pytestmark = pytest.mark.skipif(not available(), reason="the emulator is built with g++")


@pytest.fixture(scope="module", autouse=True)
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder: Path = tmp_path_factory.mktemp("cuda_emulator")
    register_runtime(torch.device("cpu"), EmulatedRuntime(folder))
    yield
    register_runtime(torch.device("cpu"), None)


@pytest.mark.parametrize(
    "count, coefficients, views, width, height",
    [(200, 1, 2, 70, 50), (200, 16, 1, 48, 64), (100, 0, 2, 33, 20), (100, 4, 1, 40, 40), (100, 9, 1, 16, 16)],
)
def test_rasterizer_matches_the_reference(count: int, coefficients: int, views: int, width: int, height: int) -> None:
    scene = orbit_scene(count, coefficients, views, width, height)
    expected, wanted = values_and_gradients(rasterize_reference, scene)
    outer = picture_gradients(expected)
    got = cuda.forward(scene)
    torch.testing.assert_close(got.image, expected.image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.alpha, expected.alpha, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.depth, expected.depth, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(got.radii, expected.radii)
    gradients = cuda.backward(scene, [got.image, got.alpha, got.depth, got.radii, *got.state], outer)
    assert_gradients_close(gradients._asdict(), wanted, 1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_match_the_reference(name: str) -> None:
    scene = variant(orbit_scene(120, 4, 2, 40, 50), name)
    expected, wanted = values_and_gradients(rasterize_reference, scene)
    got = cuda.forward(scene)
    for ours, want in zip(got[:3], expected[:3], strict=True):
        torch.testing.assert_close(ours, want, atol=1e-4, rtol=1e-5)
    for ours, want in zip(got[3:5], expected[3:5], strict=True):
        torch.testing.assert_close(ours, want)
    state = [got.image, got.alpha, got.depth, got.radii, *got.state]
    assert_gradients_close(cuda.backward(scene, state, picture_gradients(expected))._asdict(), wanted, 2e-4)


@pytest.mark.parametrize("case", CASES)
def test_draws_and_differentiates_as_the_original(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the package's face and autograd, with the GPU's kernels in the place of the CPU's."""

    def backward(scene: Scene, state: list[torch.Tensor], v: PictureGradient, wanted: Wanted) -> Gradients:
        kept = drawn.pop()
        return cuda.backward(scene, [kept.image, kept.alpha, kept.depth, kept.radii, *state], v, wanted)

    def forward(scene: Scene) -> Forward:
        drawn.append(cuda.forward(scene))
        return drawn[-1]

    drawn: list[Forward] = []
    monkeypatch.setattr(library.cpu, "forward", forward)
    monkeypatch.setattr(library.cpu, "backward", backward)
    Golden(case).check()
    assert not drawn


def test_a_list_longer_than_shared_memory_is_sorted_where_it_lies() -> None:
    scene = orbit_scene(4500, 0, 1, 16, 16)
    scene = scene._replace(opacities=scene.opacities * 0.05 + 0.01)  # faint, so that far splats still show
    assert len(cuda.project_and_bin(scene)[2].entries) > 4096
    expected = rasterize_reference(scene)
    torch.testing.assert_close(cuda.forward(scene).image, expected.image, atol=1e-5, rtol=1e-5)


def test_every_listed_entry_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the threshold of opacity a splat must not be counted and then left out: its entry would be what lay there."""
    scene = threshold_scene()
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        (radii, _), _, lists = cuda.project_and_bin(scene)
    finally:
        torch.use_deterministic_algorithms(False)
    assert 0 < len(lists.entries) and (lists.entries >> 8).max() < scene.means.shape[0]
    assert radii[0, lists.entries.long() >> 8].all() and not radii[:, scene.opacities <= scene.opacities[4]].any()


def test_a_picture_beside_the_axis_matches_the_reference() -> None:
    scene = crop(wide_scene(torch.float32))
    expected = rasterize_reference(scene)
    got = cuda.forward(scene)
    torch.testing.assert_close(got.image, expected.image, atol=1e-5, rtol=1e-5)


def test_nothing_to_draw_gives_the_background() -> None:
    scene = orbit_scene(5, 1, 1, 20, 20)
    scene.cam_from_world[:, 2, 3] = -3.0
    got = cuda.forward(scene)
    assert not got.radii.any()
    torch.testing.assert_close(got.image[0, :, 7, 7], scene.background)


@pytest.mark.parametrize("views, width, height", [(2, 70, 50), (1, 32, 32), (1, 90, 20)])
def test_loss_matches_the_reference(views: int, width: int, height: int) -> None:
    image = torch.rand(views, 3, height, width, requires_grad=True)
    target = torch.randint(0, 256, (views, height, width, 3), dtype=torch.uint8)
    expected = photometric_loss_reference(image, target, 0.2)
    (gradient,) = torch.autograd.grad(expected, image)
    for given in (target, target.permute(0, 3, 1, 2) / 255):
        value, v_image = cuda.photometric_loss(image.detach(), given, 0.2)
        torch.testing.assert_close(value, expected.detach(), atol=1e-6, rtol=1e-5)
        assert (v_image - gradient).norm() <= 1e-5 * gradient.norm()


@pytest.mark.parametrize("sh_degree, slots", [(0, 1), (2, 2), (3, 1)])
def test_training_steps_match_autograd_though_lists_have_to_grow(sh_degree: int, slots: int) -> None:
    results = []
    for engine in (CpuEngine(), CudaEngine("cpu", entries_per_splat=1)):
        engine.set_views(views(count=4, size=40), 32, 32)
        state = _stretched_ball(sh_degree)
        order = torch.tensor([[0, 1], [3, 2], [1, 3]])[:, :slots]
        rates = {name: torch.full((3,), 1e-3) for name in (*state.params, "sh_rest")}
        results.append((engine.run(state, order, rates, LossConfig()), state))
    (loss, expected), (got_loss, got) = results
    assert got_loss == pytest.approx(loss, rel=1e-5)
    assert got.adam_step == expected.adam_step == 3
    for name, value in expected.params.items():
        torch.testing.assert_close(got.params[name], value, atol=2e-5, rtol=1e-3)
        assert (got.exp_avg[name] - expected.exp_avg[name]).norm() <= 1e-3 * expected.exp_avg[name].norm(), name
    torch.testing.assert_close(got.grad2d_sum, expected.grad2d_sum, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(got.grad2d_count, expected.grad2d_count)


@pytest.mark.parametrize("make", [CpuEngine, lambda: CudaEngine("cpu")])
def test_steps_after_cameras_moved_are_those_of_an_engine_that_knew_no_others(make: Callable[[], Engine]) -> None:
    taken = views(count=4, size=40)
    moved = moved_by(taken, torch.tensor([[2.0, -1.0], [0.5, 0], [-3, 1], [0, 1]], dtype=torch.float64))
    order = torch.tensor([[0, 1], [3, 2], [1, 3]])
    states = []
    for first in (taken, moved):
        engine, state = make(), _stretched_ball(0)
        rates = {name: torch.full((3,), 1e-3) for name in (*state.params, "sh_rest")}
        engine.set_views(first, 32, 32)
        engine.run(_stretched_ball(0), order, rates, LossConfig())  # whatever it recorded goes on
        engine.set_cameras([view.camera for view in moved])
        engine.run(state, order, rates, LossConfig())
        states.append(state)
    for name, value in states[1].params.items():
        assert torch.equal(states[0].params[name], value)


def _stretched_ball(sh_degree: int) -> TrainingState:
    """Of round Gaussians the rotation has no gradient, so these are not."""
    g = torch.Generator().manual_seed(1)
    model = ball(100, sh_degree=sh_degree)
    noise = {k: 0.1 * torch.randn(v.shape, generator=g) for k, v in model.as_dict().items()}
    noise["log_scales"] *= 4
    return TrainingState.start(Gaussians(**{k: v + noise[k] for k, v in model.as_dict().items()}))


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize(
    "robust, sh_degree, near, detail", [("l2", 0, False, 1.0), ("huber", 2, True, 0.4), ("tukey", 3, False, 1.0)]
)
def test_pose_equations_match_the_reference(
    robust: str, sh_degree: int, near: bool, detail: float, buffered: bool
) -> None:
    case = make_case(robust, sh_degree, near, detail).to(torch.device("cpu"), torch.float32)
    expected = pose_normal_equations_reference(case.cloud, case.fits)
    buffers = cuda.ListBuffers(case.cloud.means.device, 9999) if buffered else None
    got = cuda_pose.normal_equations(case.cloud, case.fits, buffers)
    for name in ("hessian", "gradient", "cost"):
        value, truth = getattr(got, name), getattr(expected, name)
        assert (value - truth).norm() <= 2e-4 * truth.norm(), name
    assert (got.histogram - expected.histogram).abs().sum() <= 4  # residuals at a border between two bins


def test_lists_without_room_add_nothing_until_it_grows() -> None:
    case = make_case("huber").to(torch.device("cpu"), torch.float32)
    buffers = cuda.ListBuffers(case.cloud.means.device, 3)
    got = cuda_pose.normal_equations(case.cloud, case.fits, buffers)
    assert not any(tensor.any() for tensor in got)
    assert buffers.grow() and buffers.capacity > 3
    got = cuda_pose.normal_equations(case.cloud, case.fits, buffers)
    assert not buffers.grow() and all(tensor.any() for tensor in got)
    expected = cuda_pose.normal_equations(case.cloud, case.fits)
    torch.testing.assert_close(got.hessian, expected.hessian)


@pytest.mark.parametrize("least_scale, always", [(0.03, False), (None, True)])
def test_steps_of_poses_match_the_reference(least_scale: float | None, always: bool) -> None:
    found = pose_steps(cuda_pose_step, torch.float32, True, least_scale, always)
    expected = pose_steps(reference_pose_step, torch.float32, True, least_scale, always)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs, 1e-7)  # the kernel is told the least scale in float32


def test_a_pose_without_scale_is_left_out() -> None:
    case = make_case("huber").to(torch.device("cpu"), torch.float32)
    fits = case.fits._replace(scale=case.fits.scale * torch.tensor([0.0, 1.0]))
    for part in cuda_pose.normal_equations(case.cloud, fits):
        assert not part[0].any() and part[1].any()
