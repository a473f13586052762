"""Where kernels and reference could go wrong together: opacities at the threshold, pictures beside the optical axis."""

import pytest
import torch
from diff_gaussian_rasterization import Scene, rasterize
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from torch import Tensor

from tests.splat_scenes import (
    LEFT,
    TENSORS,
    TOP,
    assert_gradients_close,
    broad_scene,
    crop,
    threshold_scene,
    wide_scene,
)

BOTH = pytest.mark.parametrize("function", [rasterize, rasterize_reference])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_opacity_at_the_threshold_is_not_drawn(function, dtype: torch.dtype):
    scene = threshold_scene(dtype)
    out = function(scene)
    faint = scene.opacities <= torch.tensor(1 / 255, dtype=dtype)
    assert faint.sum() == 50 and not out.radii[:, faint].any()
    assert (out.radii[:, ~faint] > 0).any(), "a unit more is drawn"


def cut(scene: Scene) -> tuple[Tensor, ...]:
    """Colors, alpha and depth of the corner that `crop` cuts out, from the whole picture."""
    return tuple(picture[..., TOP:, LEFT:] for picture in rasterize(scene)[:3])


@BOTH
def test_a_crop_beside_the_axis_is_that_part_of_the_whole(function):
    """J is clamped about the picture. About the axis it would be clamped at 0.36 here, and the crop begins at 0.22."""
    scene = wide_scene()
    outer = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).double() for p in cut(scene)]
    results = []
    for draw, given in ((cut, scene), (lambda given: function(given)[:3], crop(scene))):
        leaves = {name: getattr(given, name).clone().requires_grad_() for name in TENSORS}
        pictures = draw(given._replace(**leaves))
        gradients = torch.autograd.grad(pictures, list(leaves.values()), outer)
        results.append((pictures, dict(zip(leaves, gradients, strict=True))))
    (whole, expected), (pictures, gradients) = results
    for got, want in zip(pictures, whole, strict=True):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=0)
    assert_gradients_close(gradients, expected, 1e-9)


@BOTH
def test_gradients_of_a_camera_beside_the_axis_are_finite_differences(function):
    """The clamp moves with the principal point, also for the Gaussian beyond it."""
    scene = broad_scene(0)
    scene = scene._replace(intrinsics=scene.intrinsics + torch.tensor((0.0, 0.0, 4.0, -3.0)))
    assert all(function(scene).radii[0] > 0)

    def pictures(*tensors: Tensor) -> tuple[Tensor, ...]:
        return function(scene._replace(**dict(zip(TENSORS, tensors, strict=True))))[:3]

    leaves = [getattr(scene, name).clone().requires_grad_() for name in TENSORS]
    assert torch.autograd.gradcheck(pictures, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)
