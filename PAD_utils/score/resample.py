"""Resizing and blurring as small matrices: `apply(rows, image, columns)` is one pair of matrix products on any device.

Every linear filter here is separable, and products of matrices chain: blur @ upsample is one (fine, coarse) matrix.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

_GAUSSIAN_TRUNCATE = 4.0  # standard deviations, as scipy.ndimage.gaussian_filter
_PIL_PRECISION_BITS = 22  # of the weights in PIL's 8-bit resampling


_noted: ContextVar[list[Tensor] | None] = ContextVar("_noted", default=None)
Maker = TypeVar("Maker", bound=Callable[..., Tensor])


@contextmanager
def noting() -> Iterator[list[Tensor]]:
    """The kept matrices that are used inside. Who goes on using their memory, as a CUDA graph does, must hold them: the
    caches forget."""
    used: list[Tensor] = []
    before = _noted.set(used)
    try:
        yield used
    finally:
        _noted.reset(before)


def kept(most: int) -> Callable[[Maker], Maker]:
    """A decorator for what makes a matrix on a device: the last `most` of them are made once."""

    def decorate(make: Maker) -> Maker:
        cached = lru_cache(maxsize=most)(make)

        @wraps(make)
        def look_up(*arguments: Any) -> Tensor:
            matrix = cached(*arguments)
            if (used := _noted.get()) is not None:
                used.append(matrix)
            return matrix

        return cast(Maker, look_up)

    return decorate


def apply(
    rows: Float[Tensor, "a h"], x: Float[Tensor, "*b h w"], columns: Float[Tensor, "c w"]
) -> Float[Tensor, "*b a c"]:
    """rows @ x @ columns^T for every picture of a batch."""
    return rows @ x @ columns.T


def pil_resized(levels: Float[Tensor, "*b h w"], height: int, width: int) -> Float[Tensor, "*b a c"]:
    """8-bit pictures (whole numbers 0..255) resized as PIL's BILINEAR does: along x, rounded, then along y, rounded.

    In float64, where PIL's fixed-point products are exact: the result is PIL's to the last bit.
    """
    h, w = levels.shape[-2:]
    exact = levels.double()
    if w != width:
        exact = (exact @ _fixed_point(width, w, levels.device).T).add(0.5).floor()
    if h != height:
        exact = (_fixed_point(height, h, levels.device) @ exact).add(0.5).floor()
    return exact.to(levels)


@kept(64)
def _fixed_point(out_size: int, in_size: int, device: torch.device) -> Float[Tensor, "o i"]:
    """Weights rounded to PIL's 22 fractional bits, kept on the device."""
    weights = (antialiased_matrix(out_size, in_size) * 2**_PIL_PRECISION_BITS).round() / 2**_PIL_PRECISION_BITS
    return weights.to(device)


@lru_cache(maxsize=64)
def bilinear_matrix(out_size: int, in_size: int) -> Float[Tensor, "o i"]:
    """Bilinear interpolation without corner alignment and without antialiasing, as torch's `interpolate`; float64."""
    position = ((torch.arange(out_size, dtype=torch.float64) + 0.5) * in_size / out_size - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=in_size - 1)
    high = (low + 1).clamp(max=in_size - 1)
    weight = position - low
    matrix = torch.zeros(out_size, in_size, dtype=torch.float64)
    row = torch.arange(out_size)
    matrix.index_put_((row, low), 1 - weight, accumulate=True)
    matrix.index_put_((row, high), weight, accumulate=True)
    return matrix


@lru_cache(maxsize=64)
def antialiased_matrix(out_size: int, in_size: int) -> Float[Tensor, "o i"]:
    """PIL's BILINEAR: a triangle as wide as the shrinking asks for, cut at the borders and normalized; float64."""
    scale = in_size / out_size
    support = max(scale, 1.0)
    center = (torch.arange(out_size, dtype=torch.float64) + 0.5) * scale
    first = (center - support + 0.5).floor().clamp(min=0)
    last = (center + support + 0.5).floor().clamp(max=in_size)
    pixel = torch.arange(in_size, dtype=torch.float64)
    weight = (1 - ((pixel + 0.5 - center[:, None]) / support).abs()).clamp(min=0)
    weight = weight * ((pixel >= first[:, None]) & (pixel < last[:, None]))
    return weight / weight.sum(1, keepdim=True)


@lru_cache(maxsize=64)
def gaussian_matrix(size: int, sigma: float) -> Float[Tensor, "n n"]:
    """A Gaussian blur cut at 4 sigma, borders mirrored with the edge pixel repeated, as scipy's default; float64."""
    if sigma <= 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(_GAUSSIAN_TRUNCATE * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
    kernel = kernel / kernel.sum()
    source = (torch.arange(size)[:, None] + offset) % (2 * size)  # the mirrored signal has period 2 * size
    source = torch.where(source < size, source, 2 * size - 1 - source)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    rows = torch.arange(size)[:, None].expand_as(source)
    return matrix.index_put_((rows, source), kernel.expand_as(source), accumulate=True)


def shrunk_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The size with the shorter side `side`, as torchvision's Resize: the longer one is cut to a whole number."""
    if height <= width:
        return side, math.floor(side * width / height)
    return math.floor(side * height / width), side
