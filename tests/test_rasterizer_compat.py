"""The rasterizer under the names and conventions of other 3DGS code."""

import math

import numpy as np
import pytest
import torch
from diff_gaussian_rasterization import GaussianRasterizationSettings, GaussianRasterizer, rasterize
from diff_gaussian_rasterization.reference.rasterize import blend, project

from tests.splat_scenes import broad_scene, random_scene, scene_on

WIDTH, HEIGHT = 40, 30
FOV_X, FOV_Y = 0.9, 0.7


def usual_settings(cam_from_world: torch.Tensor, **changes: object) -> GaussianRasterizationSettings:
    """As 3DGS's render() fills them in, with its matrices for row vectors."""
    near, far = 0.01, 100.0
    projection = torch.zeros(4, 4)
    projection[0, 0], projection[1, 1] = 1 / math.tan(FOV_X / 2), 1 / math.tan(FOV_Y / 2)
    projection[2, 2], projection[2, 3], projection[3, 2] = far / (far - near), -far * near / (far - near), 1.0
    view = cam_from_world.T
    settings = GaussianRasterizationSettings(
        image_height=HEIGHT,
        image_width=WIDTH,
        tanfovx=math.tan(FOV_X / 2),
        tanfovy=math.tan(FOV_Y / 2),
        bg=torch.ones(3),
        scale_modifier=1.0,
        viewmatrix=view,
        projmatrix=view @ projection.T,
        sh_degree=1,
        campos=torch.linalg.inv(view)[3, :3],
        prefiltered=False,
        debug=False,
    )
    return settings._replace(**changes)


@pytest.fixture
def scene():
    return random_scene(100, WIDTH, HEIGHT, views=1, dtype=torch.float32)


def call(scene, settings: GaussianRasterizationSettings, means2d: torch.Tensor | None = None, **changes: object):
    arguments = {
        "means3D": scene.means,
        "means2D": means2d,
        "shs": scene.colors,
        "opacities": scene.opacities[:, None],
        "scales": scene.scales,
        "rotations": scene.quats,
    }
    return GaussianRasterizer(raster_settings=settings)(**{**arguments, **changes})


def expected_scene(scene):
    f = torch.tensor([[0.5 * WIDTH / math.tan(FOV_X / 2), 0.5 * HEIGHT / math.tan(FOV_Y / 2), WIDTH / 2, HEIGHT / 2]])
    return scene._replace(intrinsics=f, background=torch.ones(3), screen_offsets=None, tiles_of_3dgs=True)


def expected_picture(scene, **changes: object):
    return rasterize(expected_scene(scene)._replace(**changes))


def test_older_code_gets_two_values_and_newer_code_three(scene):
    settings = usual_settings(scene.cam_from_world[0])
    expected = expected_picture(scene)
    color, radii = call(scene, settings)
    torch.testing.assert_close(color, expected.image[0], atol=1e-5, rtol=0)
    assert torch.equal(radii, expected.radii_of_3dgs[0]) and radii.dtype == torch.int32
    torch.testing.assert_close(call(scene, settings).depth, expected.depth, atol=1e-4, rtol=0)
    outputs = call(scene, settings._replace(antialiasing=False))
    assert len(outputs) == 3 and outputs.depth is outputs[2]
    torch.testing.assert_close(outputs.alpha, expected.alpha, atol=1e-5, rtol=0)


def inverse_depth(means: torch.Tensor, view: torch.Tensor, scene) -> torch.Tensor:
    """The third value of the original's newer version, in double."""
    tensors = {name: getattr(scene, name).double() for name in ("scales", "quats", "opacities", "colors")}
    settings = usual_settings(torch.eye(4), bg=torch.ones(3).double(), viewmatrix=view, antialiasing=False)
    settings = settings._replace(projmatrix=view.detach() @ settings.projmatrix.double())
    return call(scene._replace(means=means, **tensors), settings)[2]


def test_the_third_value_of_newer_code_is_inverse_depth(scene):
    """The sum of blending weight over camera z, taken here from the reference's blending with 1/z in the place of z."""
    means, view = scene.means.double(), scene.cam_from_world[0].T.double()
    given = expected_scene(scene)
    splats, _ = project(scene_on(given, torch.float64), 0)
    splats = splats._replace(value=torch.cat((splats.value[:, :3], 1 / splats.value[:, 3:]), dim=1))
    expected = blend(splats, WIDTH, HEIGHT, torch.ones(3).double(), 16)[4:]
    torch.testing.assert_close(inverse_depth(means, view, scene), expected, atol=1e-6, rtol=0)


def test_gradients_of_the_inverse_depth_are_finite_differences():
    """Of smooth Gaussians that cover the whole picture, in their centers and in the camera."""
    scene = broad_scene(0)._replace(screen_offsets=None)
    means = scene.means[:3].clone().requires_grad_()
    view = scene.cam_from_world[0].T.clone().requires_grad_()
    few = scene._replace(**{name: getattr(scene, name)[:3] for name in ("scales", "quats", "opacities", "colors")})
    few = few._replace(colors=few.colors[:, None], scales=3 * few.scales)
    assert (inverse_depth(means, view, few) > 0.05).all()
    weight = torch.randn(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    gradients = torch.autograd.grad((inverse_depth(means, view, few) * weight).sum(), (means, view))
    for leaf, gradient in zip((means, view), gradients, strict=True):
        for place in range(0, 12, 5) if leaf is view else range(9):
            step = torch.zeros_like(leaf).flatten()
            step[place] = 1e-6
            ahead, behind = (
                (
                    inverse_depth(*(x + sign * step.view_as(x) if x is leaf else x for x in (means, view)), few)
                    * weight
                ).sum()
                for sign in (1, -1)
            )
            torch.testing.assert_close(gradient.flatten()[place], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-5)


def test_active_degree_and_scale_modifier(scene):
    settings = usual_settings(scene.cam_from_world[0], sh_degree=0, scale_modifier=0.5)
    expected = expected_picture(scene, colors=scene.colors[:, :1].contiguous(), scales=scene.scales * 0.5)
    torch.testing.assert_close(call(scene, settings)[0], expected.image[0], atol=1e-5, rtol=0)


def test_antialiasing(scene):
    settings = usual_settings(scene.cam_from_world[0], antialiasing=True)
    expected = expected_picture(scene, antialiased=True)
    color, radii, inverse = call(scene, settings)
    torch.testing.assert_close(color, expected.image[0], atol=1e-5, rtol=0)
    assert torch.equal(radii, expected.radii_of_3dgs[0])
    assert (color - call(scene, settings._replace(antialiasing=False))[0]).abs().max() > 0.01
    torch.testing.assert_close(
        inverse, expected_picture(scene, antialiased=True, inverse_depth=True).depth, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("change", [{"debug": True}, {"prefiltered": True}, {"campos": torch.full((3,), 7.0)}])
def test_what_is_accepted_and_changes_no_picture(scene, change: dict[str, object]):
    settings = usual_settings(scene.cam_from_world[0])
    assert torch.equal(call(scene, settings._replace(**change))[0], call(scene, settings)[0])


def test_intrinsics_follow_a_matrix_that_is_changed_in_place(scene):
    settings = usual_settings(scene.cam_from_world[0])
    call(scene, settings)
    settings.projmatrix[:, 0] += 0.2 * settings.viewmatrix[:, 2]  # the principal point moves to the right
    expected = call(scene, settings._replace(projmatrix=settings.projmatrix.clone()))
    assert torch.equal(call(scene, settings)[0], expected[0])


def test_precomputed_colors(scene):
    colors = scene.colors[:, 0].abs()
    expected = expected_picture(scene, colors=colors)
    got = call(scene, usual_settings(scene.cam_from_world[0]), shs=None, colors_precomp=colors)
    torch.testing.assert_close(got[0], expected.image[0], atol=1e-5, rtol=0)


def test_principal_point_of_the_projection(scene):
    settings = usual_settings(scene.cam_from_world[0])
    shift = torch.zeros(4, 4)
    shift[2, 0], shift[2, 1] = 0.2, -0.1  # of z on x and y, for row vectors
    moved = settings._replace(projmatrix=settings.projmatrix + settings.viewmatrix @ shift)
    intrinsics = torch.tensor(
        [[0.5 * WIDTH / math.tan(FOV_X / 2), 0.5 * HEIGHT / math.tan(FOV_Y / 2), WIDTH * 0.6, HEIGHT * 0.45]]
    )
    expected = rasterize(expected_scene(scene)._replace(intrinsics=intrinsics))
    torch.testing.assert_close(call(scene, moved)[0], expected.image[0], atol=1e-4, rtol=0)


def test_densification_reads_the_gradient_of_means2d(scene):
    """In units of half the picture: what moves a splat by one pixel counts W / 2 in x and H / 2 in y."""
    offsets = torch.zeros(1, 100, 2, requires_grad=True)
    weight = torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    (expected_picture(scene, screen_offsets=offsets).image[0] * weight).sum().backward()
    means2d = torch.zeros_like(scene.means, requires_grad=True)
    screenspace = means2d + 0
    screenspace.retain_grad()
    color, _ = call(scene, usual_settings(scene.cam_from_world[0]), screenspace)
    (color * weight).sum().backward()
    assert screenspace.grad.shape == (100, 3)
    assert not screenspace.grad[:, 2].any()
    expected = offsets.grad[0] * torch.tensor((WIDTH / 2, HEIGHT / 2))
    assert (screenspace.grad[:, :2] - expected).norm() < 1e-3 * expected.norm()


def test_values_of_means2d_are_not_read(scene):
    settings = usual_settings(scene.cam_from_world[0])
    anything = torch.randn(100, 3, requires_grad=True)
    assert torch.equal(call(scene, settings, anything)[0], call(scene, settings)[0])


def test_mark_visible():
    settings = usual_settings(torch.eye(4))
    positions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.1], [5.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    assert GaussianRasterizer(settings).markVisible(positions).tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shs": None}, "exactly one of the two"),
        ({"colors_precomp": torch.zeros(100, 3)}, "exactly one of the two"),
        ({"scales": None}, "expected both scales and rotations, or cov3D_precomp alone"),
        ({"cov3D_precomp": torch.zeros(100, 6)}, "expected both scales and rotations, or cov3D_precomp alone"),
        ({"cov3D_precomp": torch.zeros(100, 9), "scales": None, "rotations": None}, r"cov3D_precomp: expected shape"),
        ({"opacities": torch.zeros(100)}, r"opacities: expected shape \(100, 1\)"),
    ],
)
def test_wrong_input_is_named(scene, changes: dict[str, object], words: str):
    with pytest.raises(ValueError, match=words):
        call(scene, usual_settings(scene.cam_from_world[0]), **changes)


OFF_CENTER = 0.137


def off_center(scene) -> GaussianRasterizationSettings:
    settings = usual_settings(scene.cam_from_world[0], antialiasing=False)
    projection = torch.linalg.inv(settings.viewmatrix) @ settings.projmatrix
    projection[2, 0] = OFF_CENTER
    return settings._replace(projmatrix=settings.viewmatrix @ projection)


def test_under_autocast_the_picture_is_the_same(scene):
    settings = off_center(scene)
    expected = call(scene, settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(scene, settings)
        visible = GaussianRasterizer(settings).markVisible(scene.means)
    for a, b in zip(found, expected, strict=True):
        assert (a == b).all()
    assert (visible == GaussianRasterizer(settings).markVisible(scene.means)).all()


def test_matrices_of_another_type_are_read_in_the_type_of_the_means(scene):
    settings = off_center(scene)
    expected, _, _ = call(scene, settings)
    names = ("viewmatrix", "projmatrix", "bg")
    double = settings._replace(**{name: getattr(settings, name).double() for name in names})
    assert (call(scene, double)[0] == expected).all()
    assert GaussianRasterizer(double).markVisible(scene.means).any()
    half = call(scene, settings._replace(projmatrix=settings.projmatrix.bfloat16()))[0]
    assert 0 < (half - expected).abs().mean() < 0.02  # the principal point has three digits then


def test_sizes_may_be_numpy_integers(scene):
    settings = usual_settings(scene.cam_from_world[0])
    sizes = {"image_width": np.int64(WIDTH), "image_height": np.int32(HEIGHT)}
    assert (call(scene, settings._replace(**sizes))[0] == call(scene, settings)[0]).all()
    for wrong in (WIDTH + 0.5, True):
        with pytest.raises(ValueError, match="width: expected a whole number"):
            call(scene, settings._replace(image_width=wrong))
