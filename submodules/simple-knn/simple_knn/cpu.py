"""The CPU backend: an exact k-d tree in C++, several threads."""

import ctypes
from functools import cache
from pathlib import Path

import torch  # loaded before the kernel, so that both share torch's OpenMP runtime and its number of threads
from torch import Tensor


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where no compiler was at hand when the package was installed."""
    path = Path(__file__).parent / "_cpu.so"
    return ctypes.CDLL(str(path)) if path.is_file() else None


def distances(points: Tensor) -> Tensor:
    """As `distCUDA2`, for a finite float32 tensor on the CPU; `library()` must not be None."""
    kernels = library()
    assert kernels is not None, "callers look at library() first"
    points = points.contiguous()
    out = torch.empty_like(points[:, 0], memory_format=torch.contiguous_format)
    count, source, result = (
        ctypes.c_int64(len(points)),
        ctypes.c_void_p(points.data_ptr()),
        ctypes.c_void_p(out.data_ptr()),
    )
    kernels.knn_mean_squared_distance(count, source, result)
    return out
