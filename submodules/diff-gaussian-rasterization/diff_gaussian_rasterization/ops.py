"""`rasterize` and `photometric_loss`: what users call. The device of the tensors picks the kernels."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from diff_gaussian_rasterization import library  # noqa: F401 (registers the operations)
from diff_gaussian_rasterization.checks import check_gaussians, check_views, expect, expect_floating
from diff_gaussian_rasterization.cpu.loader import cpu_library
from diff_gaussian_rasterization.reference.rasterize import Rasterized, photometric_loss_reference, rasterize_reference
from diff_gaussian_rasterization.types import Scene

_KERNELS = torch.ops.diff_gaussian_rasterization


@lru_cache(maxsize=1)
def _warn_of_reference() -> None:
    warnings.warn(
        "diff_gaussian_rasterization: the compiled CPU kernels are missing, so a plain-torch reference runs that is "
        "more than a hundred times slower. Install a C++17 compiler (Debian: apt install g++), then reinstall this "
        "package.",
        stacklevel=3,
    )


def _must_use_reference(tensor: Tensor) -> bool:
    if tensor.is_cuda or torch.compiler.is_compiling() or cpu_library() is not None:
        return False
    _warn_of_reference()
    return True


def rasterize(
    means: Tensor,
    scales: Tensor,
    quats: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cam_from_world: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    background: Tensor,
    screen_offsets: Tensor | None = None,
) -> Rasterized:
    """Draws N Gaussians from B cameras; differentiable in every tensor, the cameras included.

    means (N, 3) world units; scales (N, 3) standard deviations, positive; quats (N, 4) wxyz, any length but 0;
    opacities (N,) in [0, 1]; colors (N, 3), or spherical harmonics (N, K, 3) with K = 1, 4, 9, 16;
    cam_from_world (B, 4, 4) in OpenCV axes (x right, y down, z forward); intrinsics (B, 4) fx, fy, cx, cy in pixels;
    background (3,); screen_offsets (B, N, 2) pixels added to the projected means, whose gradient densification reads.

    Returns image (B, 3, H, W) over the background, not clamped; alpha (B, H, W); depth (B, H, W), the sum of blending
    weight times camera z; radii (B, N) int32 pixels, 0 where a Gaussian is not drawn. All float32 or all float64 on the
    CPU, float32 on CUDA. Raises ValueError naming the argument whose shape, dtype or device is wrong.
    """
    check_gaussians(means, scales, quats, opacities, colors)
    check_views(means, cam_from_world, intrinsics, width, height)
    expect("background", background, (3,), means)
    if screen_offsets is not None:
        expect("screen_offsets", screen_offsets, (cam_from_world.shape[0], means.shape[0], 2), means)
    scene = Scene(
        means.contiguous(),
        scales.contiguous(),
        quats.contiguous(),
        opacities.contiguous(),
        colors.contiguous(),
        cam_from_world.contiguous(),
        intrinsics.contiguous(),
        width,
        height,
        background.contiguous(),
        None if screen_offsets is None else screen_offsets.contiguous(),
    )
    if _must_use_reference(means):
        return rasterize_reference(*scene)
    image, alpha, depth, radii, _ = _KERNELS.rasterize_forward(*scene)
    return Rasterized(image, alpha, depth, radii)


def photometric_loss(image: Tensor, target: Tensor, ssim_weight: float = 0.2) -> Tensor:
    """The loss of 3DGS: (1 - w) mean |image - target| + w (1 - mean SSIM), a scalar, differentiable in `image`.

    image (B, 3, H, W); target uint8 (B, H, W, 3), or of the image's type (B, 3, H, W) in [0, 1]; ssim_weight w in
    [0, 1]. SSIM takes an 11x11 Gaussian window of sigma 1.5 and zeros beyond the border. Raises ValueError naming what
    is wrong.
    """
    expect_floating("image", image)
    expect("image", image, ("B", 3, "H", "W"), image)
    check_target(image, target)
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_weight: expected a number from 0 to 1, got {ssim_weight}")
    if _must_use_reference(image):
        return photometric_loss_reference(image, target, ssim_weight)
    with_gradient = image.requires_grad and torch.is_grad_enabled()
    return _KERNELS.photometric_loss(image.contiguous(), target.contiguous(), ssim_weight, with_gradient)[0]


def check_target(image: Tensor, target: Tensor) -> None:
    """Raises ValueError unless `target` fits `image` (B, 3, H, W): uint8 (B, H, W, 3), or like the image."""
    batch, channels, height, width = image.shape
    if isinstance(target, Tensor) and not target.is_floating_point():
        expect("target", target, (batch, height, width, channels), image.new_empty(0).byte())
    else:
        expect("target", target, tuple(image.shape), image)
