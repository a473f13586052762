"""Finds and loads the compiled CPU kernels: plain C functions behind ctypes, tensors by pointer."""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch  # loaded before the kernels, so that both share torch's OpenMP runtime and its number of threads
from torch import Tensor

# Widest first; the key is what torch calls the machine's instruction set.
_CANDIDATES = {"AVX512": ("v4", "v3", "baseline"), "AVX2": ("v3", "baseline")}
_ENVIRONMENT = "DIFF_GAUSSIAN_RASTERIZATION_CPU"  # baseline, v3, v4: for tests and comparisons; none: the reference

Argument = Tensor | int | float | None


@cache
def cpu_library() -> ctypes.CDLL | None:
    """The library for this machine's instruction set; None if none was built, so that the reference must run."""
    wanted = os.environ.get(_ENVIRONMENT)
    names = (wanted,) if wanted else _CANDIDATES.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))
    for name in names:
        path = Path(__file__).parent / f"_cpu_{name}.so"
        if path.is_file():
            return ctypes.CDLL(str(path))
    return None


@cache
def _function(name: str, result: type | None) -> Callable[..., Any]:
    library = cpu_library()
    assert library is not None, "callers look at cpu_library() first"
    function = getattr(library, name)
    function.restype = result
    return function


def _convert(value: Argument) -> object:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_double(value)
    return None if value is None else ctypes.c_int64(value)


def call(name: str, dtype: torch.dtype, *args: Argument, result: type | None = None) -> Any:
    """Calls `name`_f32 or `name`_f64: tensors (contiguous, on the CPU) and None go as pointers, int as int64_t and float
    as double."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    return _function(f"{name}_{suffix}", result)(*[_convert(arg) for arg in args])
