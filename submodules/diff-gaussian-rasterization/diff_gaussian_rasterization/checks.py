"""Wrong input is named: the argument, what was expected and what came."""

import torch
from torch import Tensor

from diff_gaussian_rasterization.types import Cloud

SH_COUNTS = (1, 4, 9, 16)  # coefficients per channel for degree 0 to 3


def expect(name: str, value: object, shape: tuple[int | str, ...], like: Tensor) -> Tensor:
    """`value` if it is a tensor of `shape` (letters: any size) with the dtype and device of `like`, else ValueError."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(value).__name__}")
    fits = value.ndim == len(shape) and all(
        isinstance(s, str) or s == v for s, v in zip(shape, value.shape, strict=False)
    )
    if not fits:
        wanted = ", ".join(str(s) for s in shape)
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(value.shape)}")
    if value.dtype != like.dtype:
        raise ValueError(f"{name}: expected dtype {like.dtype} as the first argument has, got {value.dtype}")
    if value.device != like.device:
        raise ValueError(f"{name}: expected device {like.device} as the first argument has, got {value.device}")
    return value


def expect_floating(name: str, value: object, on_cuda: tuple[torch.dtype, ...] = (torch.float32,)) -> Tensor:
    """`value` if it is a tensor of a type that its device's kernels compute in, else ValueError."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: expected a tensor, got {type(value).__name__}")
    allowed = on_cuda if value.is_cuda else (torch.float32, torch.float64)
    if value.dtype not in allowed:
        names = " or ".join(str(dtype) for dtype in allowed)
        raise ValueError(f"{name}: expected dtype {names} on {value.device.type}, got {value.dtype}")
    return value


def check_gaussians(cloud: Cloud) -> None:
    """Raises ValueError unless the five tensors describe one cloud."""
    means, colors = cloud.means, cloud.colors
    expect_floating("means", means)
    expect("means", means, ("N", 3), means)
    count = means.shape[0]
    by_covariance = isinstance(cloud.scales, Tensor) and tuple(cloud.scales.shape) == (count, 6)
    expect("scales", cloud.scales, (count, 6 if by_covariance else 3), means)
    expect("quats", cloud.quats, (count, 0 if by_covariance else 4), means)
    expect("opacities", cloud.opacities, (count,), means)
    if isinstance(colors, Tensor) and colors.ndim == 3 and colors.shape[1] in SH_COUNTS:
        expect("colors", colors, (count, "K", 3), means)
    else:
        expect("colors", colors, (count, 3), means)


def check_views(means: Tensor, cam_from_world: Tensor, intrinsics: Tensor, width: int, height: int) -> None:
    """Raises ValueError unless cam_from_world (B, 4, 4), intrinsics (B, 4) and the picture's size fit together."""
    expect("cam_from_world", cam_from_world, ("B", 4, 4), means)
    expect("intrinsics", intrinsics, (cam_from_world.shape[0], 4), means)
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16384:
            raise ValueError(f"{name}: expected a whole number of pixels from 1 to 16384, got {value!r}")
