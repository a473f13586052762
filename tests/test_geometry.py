"""Laws of rigid motions and cameras: exponential, inverse, angles, and a known point on a known pixel."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.geometry import (
    check_rigid,
    nearest_to_lines,
    rigid,
    rigid_inverse,
    rotation_angle,
    se3_exp,
    skew,
    so3_exp,
    solved_by_cofactors,
)

numbers = st.floats(-3, 3, allow_nan=False)
twists = st.lists(numbers, min_size=6, max_size=6).map(lambda x: torch.tensor(x, dtype=torch.float64))
scales = st.sampled_from([0.0, 1e-9, 1e-5, 1e-3, 0.3, 1.0])
EYE = torch.eye(4, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(twists, scales)
def test_exponential_is_rigid_and_its_inverse_that_of_the_opposite(twist: torch.Tensor, scale: float) -> None:
    motion = se3_exp(scale * twist)
    check_rigid("motion", motion)
    torch.testing.assert_close(motion @ se3_exp(-scale * twist), EYE, atol=1e-11, rtol=0)
    torch.testing.assert_close(motion @ rigid_inverse(motion), EYE, atol=1e-11, rtol=0)


@settings(max_examples=60, deadline=None)
@given(twists, scales)
def test_exponential_equals_the_matrix_series(twist: torch.Tensor, scale: float) -> None:
    twist = scale * twist
    generator = torch.zeros(4, 4, dtype=torch.float64)
    generator[:3, :3], generator[:3, 3] = skew(twist[3:]), twist[:3]
    torch.testing.assert_close(se3_exp(twist), torch.linalg.matrix_exp(generator), atol=1e-9, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(twists)
def test_rotation_and_its_angle_equal_those_of_scipy(twist: torch.Tensor) -> None:
    twin = Rotation.from_rotvec(twist[3:].numpy())
    torch.testing.assert_close(so3_exp(twist[3:]), torch.from_numpy(twin.as_matrix()), atol=1e-12, rtol=0)
    assert rotation_angle(so3_exp(twist[3:])).item() == pytest.approx(twin.magnitude(), abs=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-6, 1.0, math.pi - 1e-6, math.pi])
def test_angle_is_exact_at_both_ends(angle: float) -> None:
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    assert rotation_angle(so3_exp(angle * axis)).item() == pytest.approx(angle, abs=1e-12)


def test_derivatives_of_the_exponential() -> None:
    for scale in (0.0, 1e-7, 0.5):
        twist = scale * torch.tensor([0.1, -0.4, 0.2, 0.3, 0.5, -0.7], dtype=torch.float64)
        assert torch.autograd.gradcheck(se3_exp, twist.requires_grad_())


def test_blender_camera_puts_a_known_point_on_a_known_pixel() -> None:
    """Three units up the x axis, looking back at the origin with z up: a point 0.3 above the origin lies 0.1 f above
    the middle of the picture, one 0.3 along +y (the camera's right) lies 0.1 f to the right."""
    world_from_camera = torch.tensor(
        [[0.0, 0.0, 1.0, 3.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64
    )
    camera = Camera.from_blender(world_from_camera, 0.6911112070083618, 800, 800)
    assert camera.fx == pytest.approx(1111.11, abs=0.01)
    for point, pixel in (((0.0, 0.0, 0.3), (400.0, 400 - 111.111)), ((0.0, 0.3, 0.0), (400 + 111.111, 400.0))):
        x, y, z = (camera.cam_from_world @ torch.tensor([*point, 1.0], dtype=torch.float64))[:3].tolist()
        assert (camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy) == pytest.approx(pixel, abs=0.01)
    torch.testing.assert_close(camera.to_blender(), world_from_camera)
    torch.testing.assert_close(camera.center, world_from_camera[:3, 3])
    assert camera.resized(200, 400).camera_angle_x_rad == pytest.approx(camera.camera_angle_x_rad)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (torch.full((4, 4), float("nan"), dtype=torch.float64), "NaN"),
        (torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64)), "right-handed"),
        (1.01 * EYE, "orthonormal"),
        (torch.cat((EYE[:3], torch.ones(1, 4, dtype=torch.float64))), "last row"),
    ],
)
def test_what_is_no_pose_is_named(broken: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=f"frame 7.*{said}"):
        Camera.from_blender(broken, 0.7, 10, 10, name="frame 7")


def test_three_equations_are_solved_as_by_lapack() -> None:
    drawn = torch.randn(20, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for system in drawn:
        found = solved_by_cofactors(system[:, :3], system[:, 3])
        torch.testing.assert_close(found, torch.linalg.solve(system[:, :3], system[:, 3]), rtol=1e-9, atol=1e-9)


def test_lines_that_meet_are_nearest_to_where_they_meet() -> None:
    generator = torch.Generator().manual_seed(1)
    meeting = torch.tensor([3.0, -200.0, 1e4], dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64, generator=generator), dim=1)
    points = meeting + 5 * torch.randn(6, 1, dtype=torch.float64, generator=generator) * directions
    torch.testing.assert_close(nearest_to_lines(points, directions), meeting, rtol=0, atol=1e-6)


def test_parallel_lines_are_nearest_beside_the_mean_of_their_points() -> None:
    points = torch.tensor([[0.0, 0, 1], [2, 0, 3]], dtype=torch.float64)
    up = torch.tensor([[0.0, 0, 1]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(nearest_to_lines(points, up), torch.tensor([1.0, 0, 2], dtype=torch.float64))


def test_cameras_of_two_sizes_make_no_batch() -> None:
    camera = Camera.from_blender(EYE, 0.7, 10, 10)
    with pytest.raises(ValueError, match="one picture size"):
        stack_cameras([camera, camera.resized(20, 20)], torch.device("cpu"))


def test_rigid_is_differentiable() -> None:
    rotation = so3_exp(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)).requires_grad_()
    rigid(rotation, torch.zeros(3, dtype=torch.float64)).sum().backward()
    assert rotation.grad is not None and bool((rotation.grad == 1).all())


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 1.4, 1.5, 2.5, 3.1])
def test_motions_in_single_precision_lose_no_digits(angle: float) -> None:
    """The naive 1 - cos(a) is off by up to 1e-4 of the translation at a = 1e-4 in float32."""
    rho = torch.tensor([0.3, -1.1, 0.7])
    omega = (torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -2.0]), dim=0) * angle).requires_grad_(True)
    exact = omega.detach().double().requires_grad_(True)
    single, double = se3_exp(torch.cat((rho, omega))), se3_exp(torch.cat((rho.double(), exact)))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=8 * torch.finfo(torch.float32).eps)
    gradients = [
        torch.autograd.grad(motion.cumsum(0).cumsum(1).sum(), x)[0] for motion, x in ((single, omega), (double, exact))
    ]
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=0, atol=3e-5)
