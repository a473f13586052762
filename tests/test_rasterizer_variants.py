"""What the face of 3DGS can ask for beyond a plain drawing: the reference against finite differences and formulas, the
CPU kernels against the reference. (The GPU's kernels: test_cuda_emulated and test_cuda_gpu.)"""

import pytest
import torch
from diff_gaussian_rasterization import rasterize
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference

from tests.splat_scenes import (
    TENSORS,
    VARIANTS,
    assert_gradients_close,
    broad_scene,
    random_scene,
    scene_on,
    values_and_gradients,
    variant,
)


@pytest.mark.parametrize("name", VARIANTS)
def test_reference_gradients_are_finite_differences(name: str) -> None:
    scene = variant(broad_scene(4), name)
    names = [name for name in TENSORS if getattr(scene, name).numel()]
    leaves = [getattr(scene, name).clone().requires_grad_() for name in names]

    def pictures(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return rasterize_reference(scene._replace(**dict(zip(names, tensors, strict=True))))[:3]

    assert torch.autograd.gradcheck(pictures, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_kernels_match_the_reference(name: str, dtype: torch.dtype, tolerance: float) -> None:
    scene = variant(random_scene(150, 60, 45), name)
    expected, wanted = values_and_gradients(rasterize_reference, scene)
    got, gradients = values_and_gradients(rasterize, scene_on(scene, dtype))
    for ours, want in zip(got[:3], expected[:3], strict=True):
        error = (ours.double() - want).abs()
        assert (error > tolerance).double().mean() <= 1e-3 and error.max() <= max(tolerance, 1e-2)
    assert_gradients_close(gradients, wanted, tolerance)
    for ours, want in zip(got[3:], expected[3:], strict=True):
        assert (ours - want).abs().max() <= (dtype == torch.float32)


def test_covariances_draw_what_scales_and_quaternions_draw() -> None:
    scene = random_scene(100, 40, 30)
    out, same = rasterize(scene), rasterize(variant(scene, "covariances"))
    for a, b in zip(out, same, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_a_splat_much_finer_than_a_pixel_fades_when_antialiased() -> None:
    """Its peak is opacity times the root of how much the dilation has widened it: 0.3 px^2 on both variances."""
    scene = random_scene(1, 9, 9, views=1, sh=0)
    variance = 0.05  # px^2
    scene = scene._replace(
        means=torch.tensor([[0.0, 0.0, 4.0]]).double(),
        scales=torch.full((1, 3), 4 * variance**0.5 / 40).double(),
        opacities=torch.tensor([0.9]).double(),
        cam_from_world=torch.eye(4)[None].double(),
        intrinsics=torch.tensor([[40.0, 40.0, 4.5, 4.5]]).double(),
        screen_offsets=None,
    )
    plain, fine = (rasterize(scene._replace(antialiased=on)).alpha[0, 4, 4].item() for on in (False, True))
    assert plain == pytest.approx(0.9)
    assert fine == pytest.approx(0.9 * variance / (variance + 0.3))
