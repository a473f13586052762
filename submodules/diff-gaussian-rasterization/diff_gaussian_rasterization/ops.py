"""`rasterize` and `photometric_loss`: what users call. The device of the tensors picks the kernels."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from diff_gaussian_rasterization import library  # noqa: F401 (registers the operations)
from diff_gaussian_rasterization.checks import check_gaussians, check_views, expect, expect_floating
from diff_gaussian_rasterization.cpu.loader import cpu_library
from diff_gaussian_rasterization.reference.rasterize import photometric_loss_reference, rasterize_reference
from diff_gaussian_rasterization.types import Rasterized, Scene

_KERNELS = torch.ops.diff_gaussian_rasterization


@lru_cache(maxsize=1)
def _warn_of_reference() -> None:
    warnings.warn(
        "diff_gaussian_rasterization: the compiled CPU kernels are missing, so a plain-torch reference runs that is "
        "more than a hundred times slower. Install a C++17 compiler (Debian: apt install g++), then reinstall this "
        "package.",
        stacklevel=3,
    )


def must_use_reference(tensor: Tensor) -> bool:
    """Whether no kernels were built for the tensor's device; says so once."""
    if tensor.is_cuda or torch.compiler.is_compiling() or cpu_library() is not None:
        return False
    _warn_of_reference()
    return True


def rasterize(scene: Scene) -> Rasterized:
    """Draws the Gaussians of a scene from its cameras; differentiable in every tensor, the cameras included.

    Raises ValueError naming the argument whose shape, dtype or device is wrong; types.py says what they must be.
    """
    check_scene(scene)
    scene = Scene(*(value.contiguous() if isinstance(value, Tensor) else value for value in scene))
    if must_use_reference(scene.means):
        return rasterize_reference(scene)
    return Rasterized(*_KERNELS.rasterize_forward(*scene)[:-1])


def check_scene(scene: Scene) -> None:
    """Raises ValueError naming what is wrong with the tensors of a scene."""
    means = scene.means
    check_gaussians(scene.cloud)
    check_views(means, scene.cam_from_world, scene.intrinsics, scene.width, scene.height)
    expect("background", scene.background, (3,), means)
    if scene.screen_offsets is not None:
        expect("screen_offsets", scene.screen_offsets, (scene.cam_from_world.shape[0], means.shape[0], 2), means)


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
    if must_use_reference(image):
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
