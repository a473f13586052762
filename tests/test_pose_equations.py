"""The normal equations of a pose: kernels against plain torch, plain torch against autograd and finite differences."""

from dataclasses import dataclass, replace

import pytest
import torch
from diff_gaussian_rasterization import Rasterized, rasterize
from diff_gaussian_rasterization.constants import COVARIANCE_DILATION
from diff_gaussian_rasterization.cpu.loader import cpu_library
from diff_gaussian_rasterization.formulas import robust_weights
from diff_gaussian_rasterization.pose import pose_normal_equations
from diff_gaussian_rasterization.reference.pose import compensation, pose_normal_equations_reference, predict
from diff_gaussian_rasterization.reference.rasterize import blend, project, rasterize_reference
from diff_gaussian_rasterization.types import Cloud, Fits, NormalEquations
from torch import Tensor

from gaussian_splatting.camera import stack_cameras
from gaussian_splatting.pose.types import retract
from tests.pose_scene import camera_at, disturbed, lopsided, photograph

WIDTH, HEIGHT = 21, 18  # no multiple of a tile
WITHOUT_KERNELS = pytest.mark.skipif(cpu_library() is None, reason="no compiled kernels")


@dataclass(frozen=True)
class Case:
    """Two poses with a picture each, brighter and darker than the model, drawn over two backgrounds."""

    cloud: Cloud
    fits: Fits

    def to(self, device: torch.device, dtype: torch.dtype) -> "Case":
        def move(value: object) -> object:
            if not isinstance(value, Tensor):
                return value
            return value.to(device, dtype if value.is_floating_point() else value.dtype)

        return Case(Cloud(*map(move, self.cloud)), Fits(*map(move, self.fits)))  # type: ignore[arg-type]

    def run(self) -> NormalEquations:
        return pose_normal_equations(self.cloud, self.fits)


def make_case(robust: str = "huber", sh_degree: int = 0, near: bool = False, detail: float = 1.0) -> Case:
    """`near`: so close that splats lie behind the camera, at the border and beyond, where J's view is clamped."""
    model = lopsided(40, sh_degree=sh_degree)
    cameras = [camera_at((1, 0.3, 0.4), WIDTH, HEIGHT), camera_at((-0.2, 1, -0.4), WIDTH, HEIGHT)]
    if near:
        cameras = [camera.moved(_forward(2.9) @ camera.cam_from_world) for camera in cameras]
    pictures = torch.stack([photograph(model, disturbed(camera, model, 4, 0.05)) for camera in cameras])
    double = model.to("cpu", torch.float64)
    poses, intrinsics = stack_cameras(cameras, torch.device("cpu"), torch.float64)
    some = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    cloud = Cloud(double.means, double.scales, double.quats, double.opacities, double.sh)
    background = torch.tensor([[1, 1, 0.9], [1, 0.95, 1]], dtype=torch.float64)
    fits = Fits(
        poses, intrinsics, WIDTH, HEIGHT, background, pictures, torch.tensor([0, 1]), some(0.1, 0.0, 0.1), robust,
        some(0.05, 0.1), some(0.9, 1.1), some(0.02, -0.03), detail,
    )  # fmt: skip
    return Case(cloud, fits)


def _forward(distance: float) -> Tensor:
    step = torch.eye(4, dtype=torch.float64)
    step[2, 3] = -distance
    return step


def predicted(case: Case, view: int, parameters: Tensor) -> Tensor:
    """The picture (3, h, w) at (twist, gain, offset), by a true exponential and one plain rendering."""
    fits = case.fits
    pose = retract(fits.cam_from_world[view : view + 1], parameters[None, :6], fits.center)
    black = torch.zeros(3, dtype=torch.float64)
    scene = fits.scene(case.cloud)._replace(
        cam_from_world=pose, intrinsics=fits.intrinsics[view : view + 1], background=black
    )
    if fits.detail < 1:
        splats, _ = project(scene, 0)
        splats = splats._replace(opacity=splats.opacity * compensation(splats.conic, fits.detail))
        blended = blend(splats, fits.width, fits.height, black, 16)
        drawn = Rasterized(blended[None, :3], blended[3:4], blended[4:], torch.empty(0), torch.empty(0))
    else:
        drawn = rasterize_reference(scene)
    image = parameters[6] * drawn.image[0] + parameters[7] * drawn.alpha
    return (image + (1 - drawn.alpha) * fits.background[view][:, None, None]).clamp(0, 1)


def robust_cost(case: Case, view: int, parameters: Tensor) -> Tensor:
    """The cost at (twist, gain, offset), by another route than the kernels'."""
    fits = case.fits
    residual = predicted(case, view, parameters) - fits.targets[view].permute(2, 0, 1).double() / 255
    return robust_weights(fits.robust, fits.scale[view], residual.square().mean(0).sqrt())[1].sum()


def at(case: Case, view: int) -> Tensor:
    """Where the equations are taken: no twist yet, the case's gain and offset."""
    fits = case.fits
    return torch.cat((torch.zeros(6, dtype=torch.float64), fits.gain[view, None], fits.offset[view, None]))


@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("robust,sh_degree", [("l2", 0), ("huber", 2), ("tukey", 3)])
def test_reference_gradient_is_autograds(robust: str, sh_degree: int, near: bool) -> None:
    case = make_case(robust, sh_degree, near)
    found = pose_normal_equations_reference(case.cloud, case.fits)
    for view in range(2):
        start = at(case, view).requires_grad_(True)
        cost = robust_cost(case, view, start)
        (gradient,) = torch.autograd.grad(cost, start)
        torch.testing.assert_close(found.cost[view], cost.detach())
        torch.testing.assert_close(found.gradient[view], gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("parameter", range(8))
def test_reference_gradient_is_the_difference_quotient(parameter: int) -> None:
    case = make_case("huber", 1, detail=0.3)
    gradient = pose_normal_equations_reference(case.cloud, case.fits).gradient[0, parameter]
    step = torch.zeros(8, dtype=torch.float64)
    step[parameter] = 1e-7
    start = at(case, 0)
    quotient = (robust_cost(case, 0, start + step) - robust_cost(case, 0, start - step)) / 2e-7
    torch.testing.assert_close(gradient, quotient, rtol=1e-5, atol=1e-5)


def test_hessian_is_the_squared_change_of_the_prediction() -> None:
    """v^T J^T J v is the square of how fast the prediction changes along v, here a difference quotient."""
    case = make_case("l2", 1)
    hessian = pose_normal_equations_reference(case.cloud, case.fits).hessian[0]
    for seed in range(3):
        v = torch.randn(8, generator=torch.Generator().manual_seed(seed)).double()
        ahead, behind = (predicted(case, 0, at(case, 0) + sign * 1e-7 * v) for sign in (1, -1))
        squared = ((ahead - behind) / 2e-7).square().mean(0).sum()
        torch.testing.assert_close(v @ hessian @ v, squared, rtol=1e-5, atol=1e-6)


@WITHOUT_KERNELS
@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("robust,sh_degree", [("l2", 0), ("huber", 1), ("tukey", 3)])
def test_kernels_are_the_reference(robust: str, sh_degree: int, near: bool, device: torch.device) -> None:
    case = make_case(robust, sh_degree, near, detail=0.2 if sh_degree == 1 else 1.0)
    expected = pose_normal_equations_reference(case.cloud, case.fits)
    if device.type == "cpu":
        for found, wanted in zip(case.run(), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    single = case.to(device, torch.float32).run()
    for found, wanted in zip(single[:3], expected[:3], strict=True):
        assert (found.cpu() - wanted).norm() <= 1e-3 * wanted.norm()
    assert (single.histogram.cpu() - expected.histogram).abs().sum() <= 0.01 * expected.histogram.sum()


@WITHOUT_KERNELS
def test_precomputed_colors() -> None:
    case = make_case("huber")
    cloud = case.cloud._replace(colors=torch.rand(40, 3, generator=torch.Generator().manual_seed(1)).double())
    case = Case(cloud, case.fits)
    for found, wanted in zip(case.run(), pose_normal_equations_reference(case.cloud, case.fits), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_poses_share_pictures_and_may_be_none() -> None:
    case = make_case()
    both = case.run()
    swapped = Case(case.cloud, case.fits._replace(target_index=torch.tensor([1, 1]))).run()
    torch.testing.assert_close(swapped.cost[1], both.cost[1])
    assert swapped.cost[0] > both.cost[0]
    f = case.fits
    none = f._replace(
        cam_from_world=f.cam_from_world[:0], intrinsics=f.intrinsics[:0], background=f.background[:0],
        target_index=f.target_index[:0], scale=f.scale[:0], gain=f.gain[:0], offset=f.offset[:0],
    )  # fmt: skip
    assert [tuple(t.shape) for t in Case(case.cloud, none).run()] == [(0, 8, 8), (0, 8), (0,), (0, 128)]


def test_nothing_to_see_costs_the_bare_background() -> None:
    case = make_case("l2")
    empty = Cloud(*(tensor[:0] for tensor in case.cloud))
    found = Case(empty, case.fits).run()
    difference = case.fits.targets.double() / 255 - case.fits.background[:, None, None]
    torch.testing.assert_close(found.cost, 0.5 * difference.square().mean(3).sum((1, 2)))
    assert not found.gradient.any() and not found.hessian.any() and not found.histogram.any()


@WITHOUT_KERNELS
def test_the_number_of_threads_changes_nothing() -> None:
    case = make_case("tukey").to(torch.device("cpu"), torch.float32)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(case.run())
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "change,message",
    [
        ({"background": torch.ones(3).double()}, "background"),
        ({"targets": torch.zeros(2, HEIGHT, WIDTH, 4, dtype=torch.uint8)}, "targets"),
        ({"target_index": torch.zeros(2, dtype=torch.int32)}, "target_index"),
        ({"robust": "cauchy"}, "robust"),
        ({"detail": 0.0}, "detail"),
        ({"scale": torch.ones(3).double()}, "scale"),
        ({"center": torch.zeros(2).double()}, "center"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    case = make_case()
    with pytest.raises(ValueError, match=message):
        replace(case, fits=case.fits._replace(**change)).run()  # type: ignore[arg-type]


def test_prediction_is_the_rendering() -> None:
    case = make_case()
    f = case.fits
    drawn = rasterize(f.scene(case.cloud)._replace(background=f.background[0]))
    plain = f._replace(gain=torch.ones(2).double(), offset=torch.zeros(2).double())
    start = torch.zeros(8, dtype=torch.float64)
    start[6] = 1
    prediction, _ = predict(case.cloud, plain, 0, start)
    torch.testing.assert_close(prediction, drawn.image[0].clamp(0, 1), rtol=1e-9, atol=1e-9)


def test_compensation_keeps_what_a_splat_covers() -> None:
    """In a picture half as large a splat keeps its integral, opacity times area, though the dilation is as large."""
    bare = torch.tensor([[[4.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    eye = COVARIANCE_DILATION * torch.eye(2, dtype=torch.float64)
    full, half = bare + eye, bare / 4 + eye
    conic = torch.linalg.inv(half)
    kept = compensation(torch.stack((conic[:, 0, 0], conic[:, 0, 1], conic[:, 1, 1]), dim=1), 0.25)
    torch.testing.assert_close(kept * torch.linalg.det(half).sqrt(), torch.linalg.det(full / 4).sqrt())


@pytest.mark.parametrize("reference", [False, True])
def test_a_pose_without_scale_is_left_out(reference: bool) -> None:
    case = make_case()
    run = pose_normal_equations_reference if reference else pose_normal_equations
    both = run(case.cloud, case.fits)
    one = run(case.cloud, case.fits._replace(scale=case.fits.scale * torch.tensor([0.0, 1.0])))
    for whole, part in zip(both, one, strict=True):
        assert not part[0].any() and torch.equal(part[1], whole[1])
