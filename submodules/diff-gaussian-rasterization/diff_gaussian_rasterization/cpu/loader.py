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
CANDIDATES = {"AVX512": ("v4", "v3", "baseline"), "AVX2": ("v3", "baseline")}
_ENVIRONMENT = "DIFF_GAUSSIAN_RASTERIZATION_CPU"  # baseline, v3, v4: for tests and comparisons; none: the reference

Argument = Tensor | int | float | None


@cache
def _load(name: str) -> ctypes.CDLL | None:
    path = Path(__file__).parents[1] / f"_cpu_{name}.so"
    return ctypes.CDLL(str(path)) if path.is_file() else None


def cpu_library() -> ctypes.CDLL | None:
    """The library for this machine's instruction set; None if none was built, so that the reference must run."""
    wanted = os.environ.get(_ENVIRONMENT)
    names = (wanted,) if wanted else CANDIDATES.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))
    if _load("baseline") is None:  # the one that knows double
        return None
    return next((library for library in map(_load, names) if library is not None), None)


@cache
def _function(library: ctypes.CDLL, name: str, result: type | None, is_real: tuple[bool, ...]) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    # A pointer goes as the 64-bit number that it is: converting it to c_void_p first would take longer than the call.
    function.argtypes = [ctypes.c_double if real else ctypes.c_int64 for real in is_real]
    return function


def _plain(value: Argument) -> int | float:
    if isinstance(value, Tensor):
        assert value.is_contiguous(), "kernels take contiguous tensors"
        return value.data_ptr()
    return 0 if value is None else value


def call(name: str, dtype: torch.dtype, *args: Argument, result: type | None = None) -> Any:
    """Calls `name`_f32 or `name`_f64: tensors (contiguous, on the CPU) and None go as pointers, int as int64_t, float
    as double. Raises MemoryError when the kernel found no memory for what it keeps meanwhile."""
    library, suffix = (_load("baseline"), "_f64") if dtype == torch.float64 else (cpu_library(), "_f32")
    assert library is not None, "callers look at cpu_library() first"
    plain = [_plain(arg) for arg in args]
    found = _function(library, name + suffix, result, tuple([type(value) is float for value in plain]))(*plain)
    if _function(library, "gs_no_memory", ctypes.c_int64, ())():
        raise MemoryError(f"the kernel {name} found none")
    return found
