"""On a GPU: the CUDA kernels against the CPU's, through the operations that users call."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from diff_gaussian_rasterization import Scene, lift_features, photometric_loss, rasterize, rasterize_features
from diff_gaussian_rasterization.cpu import pose_step as cpu_pose_step
from diff_gaussian_rasterization.cuda import pose_step as cuda_pose_step
from diff_gaussian_rasterization.cuda.rasterize import project_and_bin

from gaussian_splatting.cuda_graph import Recording, captured
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.memory import give_back
from gaussian_splatting.pose import graph
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.training.engine_cpu import CpuEngine
from gaussian_splatting.training.state import LossConfig, TrainingState
from PAD_utils.pose.bank import bank_retriever
from PAD_utils.score.exposure import _spreading
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.levels import ScoreConfig
from PAD_utils.score.recorded import RecordedScores
from PAD_utils.score.usual import Comparer, Posed
from tests.golden import CASES, Golden
from tests.pose_scene import camera_at, disturbed, lopsided, photograph, pose_error
from tests.splat_scenes import (
    VARIANTS,
    crop,
    orbit_scene,
    scene_on,
    threshold_scene,
    values_and_gradients,
    variant,
    wide_scene,
)
from tests.test_memory import resident
from tests.test_pose_equations import make_case
from tests.test_pose_step import assert_same
from tests.test_pose_step import steps as pose_steps
from tests.toy_scene import ball, cameras, views

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
FLIPPED_SHARE = 1e-4  # of the pixels: a splat at a threshold may be drawn by one device alone


@pytest.mark.parametrize(
    "count, coefficients, batch, width, height",
    [(3000, 1, 3, 160, 120), (2000, 16, 2, 128, 128), (1000, 0, 2, 90, 70), (1000, 4, 1, 64, 64), (1000, 9, 1, 64, 64)],
)
def test_rasterizer_agrees_with_the_cpu(count: int, coefficients: int, batch: int, width: int, height: int) -> None:
    _agree(orbit_scene(count, coefficients, batch, width, height, log_size=-5.0))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_agree_with_the_cpu(name: str) -> None:
    _agree(variant(orbit_scene(2000, 4, 2, 128, 100, log_size=-5.0), name))


def _agree(scene: Scene) -> None:
    """Pictures, radii and gradients of both devices."""
    (cpu, cpu_gradients), (gpu, gradients) = (
        values_and_gradients(rasterize, scene_on(scene, d)) for d in ("cpu", "cuda")
    )
    for want, got in zip(cpu[:3], gpu[:3], strict=True):
        assert ((want - got.cpu()).abs() > 1e-4 * (1 + want.abs())).float().mean() <= FLIPPED_SHARE
    for want, got in zip(cpu[3:], gpu[3:], strict=True):
        assert (want - got.cpu()).abs().max() <= 1
    for name, want in cpu_gradients.items():
        got = gradients[name].cpu()
        if not want.numel():  # the quaternions where covariances are given
            continue
        assert (want - got).norm() <= 1e-3 * want.norm(), name
        assert torch.nn.functional.cosine_similarity(want.flatten(), got.flatten(), dim=0) >= 0.9999, name


def test_features_agree_with_the_cpu() -> None:
    scene, random = orbit_scene(1000, 0, 3, 90, 70, log_size=-5.0), torch.Generator().manual_seed(0)
    features, pictures = (torch.rand(shape, generator=random) for shape in ((3, 1000, 5), (3, 5, 70, 90)))
    on_gpu = scene_on(scene, "cuda")
    for want, got in zip(rasterize_features(scene, features), rasterize_features(on_gpu, features.cuda()), strict=True):
        assert ((want - got.cpu()).abs() > 1e-4 * (1 + want.abs())).float().mean() <= FLIPPED_SHARE
    want, got = lift_features(scene, pictures), lift_features(on_gpu, pictures.cuda()).cpu()
    assert (want - got).norm() <= 1e-3 * want.norm()


@pytest.mark.parametrize("case", CASES)
def test_draws_and_differentiates_as_the_original(case: str) -> None:
    Golden(case, "cuda").check()


def test_a_drawing_that_does_not_fit_is_done_again() -> None:
    small, large = (scene_on(orbit_scene(count, 1, 1, 64, 64), "cuda") for count in (10, 4000))
    rasterize(small)
    torch.testing.assert_close(rasterize(large).image.cpu(), rasterize(scene_on(large, "cpu")).image, atol=1e-4, rtol=0)


def test_a_crop_beside_the_axis_agrees_with_the_cpu() -> None:
    _agree(crop(wide_scene(torch.float32)))


def test_opacity_at_the_threshold_is_not_listed() -> None:
    scene = threshold_scene()
    faint = scene.opacities <= torch.tensor(1 / 255)
    (radii, _), _, lists = project_and_bin(scene_on(scene, "cuda"))
    assert not radii[:, faint.cuda()].any() and radii[0, lists.entries.long() >> 8].all()
    torch.testing.assert_close(rasterize(scene_on(scene, "cuda")).image.cpu(), rasterize(scene).image)


def test_long_lists_agree_with_the_cpu() -> None:
    scene = orbit_scene(6000, 0, 1, 24, 24, log_size=-5.0)
    scene = scene._replace(opacities=scene.opacities * 0.05 + 0.01)
    gpu = rasterize(scene_on(scene, "cuda")).image.cpu()
    torch.testing.assert_close(gpu, rasterize(scene).image, atol=1e-4, rtol=1e-4)


def test_it_runs_on_the_current_stream() -> None:
    scene = scene_on(orbit_scene(500, 1, 1, 64, 64), "cuda")
    expected = rasterize(scene).image
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = rasterize(scene).image
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(got, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_two_gpus_in_one_process() -> None:
    scene = orbit_scene(500, 1, 1, 64, 64)
    pictures = []
    for i in (1, 0):
        pictures.append(rasterize(scene_on(scene, f"cuda:{i}")).image)
        assert torch.cuda.current_device() == 0 and torch.zeros(1, device="cuda").device.index == 0
    torch.testing.assert_close(pictures[0].cpu(), pictures[1].cpu())


def test_no_gaussians_and_nothing_in_view() -> None:
    for count in (0, 20):
        scene = scene_on(orbit_scene(count, 1, 1, 32, 32), "cuda")
        scene.cam_from_world[:, 2, 3] = -3.0
        leaf = scene.means.requires_grad_()
        image = rasterize(scene).image
        torch.testing.assert_close(image[0, :, 5, 5], scene.background)
        assert not torch.autograd.grad(image.sum(), leaf)[0].any()


@pytest.mark.parametrize("width, height", [(160, 120), (32, 32), (90, 20)])
def test_loss_agrees_with_the_cpu(width: int, height: int) -> None:
    image = torch.rand(2, 3, height, width)
    target = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    values, gradients = [], []
    for device in ("cpu", "cuda"):
        leaf = image.to(device).requires_grad_()
        value = photometric_loss(leaf, target.to(device), 0.2)
        gradients.append(torch.autograd.grad(value, leaf)[0].cpu())
        values.append(value.item())
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[0].norm()


def _start(sh_degree: int, device: str) -> TrainingState:
    """The ball, disturbed, its Gaussians stretched: of round ones the rotation has no gradient."""
    g = torch.Generator().manual_seed(1)
    model = ball(150, sh_degree=sh_degree)
    noise = {k: 0.1 * torch.randn(v.shape, generator=g) for k, v in model.as_dict().items()}
    noise["log_scales"] *= 3
    moved = Gaussians(**{k: v + noise[k] for k, v in model.as_dict().items()})
    return TrainingState.start(moved.to(device))


def _train(device: str, sh_degree: int, slots: int, entries_per_splat: int = 8) -> tuple[float, TrainingState]:
    from gaussian_splatting.training.engine_cuda import CudaEngine

    engine = CpuEngine("cpu") if device == "cpu" else CudaEngine(device, entries_per_splat)
    engine.set_views(views(count=6, size=64), 48, 48)
    state = _start(sh_degree, device)
    g = torch.Generator().manual_seed(2)
    order = torch.randint(0, 6, (8, slots), generator=g)
    names = ("means", "log_scales", "quats", "opacity_logits", "sh", "sh_rest")
    rates = {name: torch.full((8,), 1e-3) for name in names}
    return engine.run(state, order, rates, LossConfig()), state


@pytest.mark.parametrize("sh_degree, slots", [(0, 1), (0, 3), (1, 1), (2, 2), (3, 1)])
def test_engine_agrees_with_the_cpu_engine(sh_degree: int, slots: int) -> None:
    (cpu_loss, cpu), (gpu_loss, gpu) = (_train(device, sh_degree, slots) for device in ("cpu", "cuda"))
    assert gpu_loss == pytest.approx(cpu_loss, rel=1e-4)
    assert gpu.adam_step == cpu.adam_step == 8
    for name, value in cpu.params.items():
        moved = value - _start(sh_degree, "cpu").params[name]
        assert (gpu.params[name].cpu() - value).norm() <= 0.02 * moved.norm(), name
    torch.testing.assert_close(gpu.grad2d_count.cpu(), cpu.grad2d_count)
    assert (gpu.grad2d_sum.cpu() - cpu.grad2d_sum).norm() <= 1e-3 * cpu.grad2d_sum.norm()


def test_lists_that_overflow_grow_and_no_step_is_lost() -> None:
    expected_loss, expected = _train("cuda", 0, 3)
    loss, state = _train("cuda", 0, 3, entries_per_splat=1)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, value in expected.params.items():
        torch.testing.assert_close(state.params[name], value, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("robust, sh_degree, detail", [("l2", 0, 1.0), ("huber", 2, 0.4), ("tukey", 3, 1.0)])
def test_pose_equations_agree_with_the_cpu(robust: str, sh_degree: int, detail: float) -> None:
    case = make_case(robust, sh_degree, detail=detail)
    cpu, gpu = (case.to(torch.device(device), torch.float32).run() for device in ("cpu", "cuda"))
    for name in ("hessian", "gradient", "cost"):
        value, truth = getattr(gpu, name).cpu(), getattr(cpu, name)
        assert (value - truth).norm() <= 1e-3 * truth.norm(), name
    assert (gpu.histogram.cpu() - cpu.histogram).abs().sum() <= 4  # residuals at a border between two bins


def test_steps_of_poses_agree_with_the_cpu() -> None:
    for least_scale, always in ((0.03, False), (None, True)):
        found = pose_steps(cuda_pose_step, torch.float32, True, least_scale, always, "cuda")
        expected = pose_steps(cpu_pose_step, torch.float32, True, least_scale, always)
        for ours, theirs in zip(found, expected, strict=True):
            assert_same(ours, theirs, 1e-6)  # the kernel is told the least scale in float32


def test_pose_search_by_a_graph_is_the_same() -> None:
    """The third and fourth calls replay what the second has recorded; all find what the CPU finds."""
    refiner, model = GaussNewtonRefiner(), lopsided(500)
    cameras = [camera_at(direction, 128, 128) for direction in ((1, 0.3, 0.4), (0.2, 1, -0.3), (-0.5, 0.4, 0.7))]
    starts = [[disturbed(camera, model, 9, 0.05, seed) for seed in (1, 2)] for camera in cameras]
    pictures = torch.stack([photograph(model, camera) for camera in cameras])
    on_gpu = model.to("cuda")
    for i in (0, 0, 1, 2):
        (found,) = refiner.refine(on_gpu, pictures[i : i + 1], starts[i : i + 1])
        (expected,) = GaussNewtonRefiner().refine(model, pictures[i : i + 1], starts[i : i + 1])
        assert found.converged and pose_error(found.camera, expected.camera).rotation_deg < 5e-3


def test_a_graph_is_recorded_once_for_each_number_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a station asks, which takes as many photographs at once as wait."""
    recorded: list[int] = []
    real = graph._Graph

    def record(*given: Any) -> Any:
        recorded.append(len(given[1].background))
        return real(*given)

    monkeypatch.setattr(graph, "_Graph", record)
    refiner, model = GaussNewtonRefiner(), lopsided(500)
    camera = camera_at((1, 0.3, 0.4), 128, 128)
    picture, starts = photograph(model, camera), [disturbed(camera, model, 9, 0.05, seed) for seed in (1, 2)]
    on_gpu = model.to("cuda")
    for count in (1, 2, 1, 2, 3, 1, 2, 3):
        for found in refiner.refine(on_gpu, torch.stack([picture] * count), [starts] * count):
            assert found.converged and pose_error(found.camera, camera).rotation_deg < 0.1
    assert sorted(recorded) == [1, 2, 3]


def test_clouds_of_any_size_are_simplified() -> None:
    """cuSOLVER's batched eigenvalues stop at 65,535 matrices."""
    cloud = ball(70_000)
    on_gpu = merged(cloud.to("cuda"), 1e-4)
    assert len(on_gpu) > 65_535 and torch.isfinite(on_gpu.quats).all()


def test_a_graph_is_recorded_while_another_thread_uses_the_gpu() -> None:
    device, stop = torch.device("cuda"), threading.Event()

    def work() -> None:
        while not stop.is_set():
            ones = torch.rand(300, 300).to(device)
            float((ones @ ones.mT).sum())  # takes memory, and waits
            torch.cuda.empty_cache()

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(work)
        try:
            for size in range(1, 200):
                doubled = Recording(lambda x: 2 * x[0] + torch.ones_like(x[0]), [torch.zeros(size, 999, device=device)])
                assert bool((doubled([torch.full((size, 999), 3.0, device=device)]) == 7).all())
        finally:
            stop.set()
        busy.result()


def test_a_graph_that_finds_no_memory_ends_in_an_error_that_can_be_caught() -> None:
    """And not in the end of the process, when what is left of the graph is freed."""
    code = (
        "import torch; from gaussian_splatting.cuda_graph import captured; device = torch.device('cuda', 0)\n"
        "torch.zeros(1, device=device); torch.cuda.set_per_process_memory_fraction(0.0)\n"
        "try:\n with captured(device): pass\n"
        "except torch.OutOfMemoryError: print('refused')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "refused\n"), ended.stderr


def test_graphs_that_are_gone_leave_nothing_in_memory() -> None:
    device, count = torch.device("cuda", 0), 300
    x = torch.ones(8, device=device)

    def record_and_forget() -> None:
        with captured(device):
            x.mul_(2)

    for _ in range(40):  # streams come from a pool of 32, and each is made when it is first used
        record_and_forget()
    give_back(device)
    before = resident()
    for _ in range(count):
        record_and_forget()
    give_back(device)
    assert (resident() - before) / count < 10_000  # bytes a graph


def test_a_recorded_score_is_the_score() -> None:
    """Also of a batch that is filled up, after other sizes have pushed its matrices out of the caches."""
    plain = Comparer(ball(300).to("cuda"), GradientFeatures(), ScoreConfig.fast())
    recorded = replace(plain, recorded=RecordedScores(plain.pyramid, plain.config))
    taken = cameras(24, 64)
    pictures = [torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(i)).byte() for i in range(9)]
    usual = plain.learn([Posed(pictures[i % 9], camera) for i, camera in enumerate(taken)], [])
    wanted = plain.compare(pictures, taken[:9], usual)[0]
    for count in (9, 3, 1, 9):
        got = recorded.compare(pictures[:count], taken[:count], usual)[0]
        torch.testing.assert_close(got.maps, wanted.maps[:count], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(got.image_scores, wanted.image_scores[:count], rtol=1e-3, atol=1e-3)
        for side in range(70, 110):
            _spreading(side, wanted.maps.device)


def test_recorded_first_poses_are_those_of_many() -> None:
    seen = views(count=24, size=64)
    retriever, taken = bank_retriever(ball().to("cuda"), seen), [view.camera for view in seen]
    pictures = torch.stack([view.image for view in seen[:8]])
    wanted = retriever.hypotheses(pictures, taken[:8], 4)
    for count in (1, 3, 1):
        for ours, want in zip(retriever.hypotheses(pictures[:count], taken[:count], 4), wanted, strict=False):
            torch.testing.assert_close(ours[0].cam_from_world, want[0].cam_from_world, rtol=0, atol=1e-4)
