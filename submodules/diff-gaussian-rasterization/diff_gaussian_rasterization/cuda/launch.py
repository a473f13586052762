"""Launches kernels on torch's current stream; tensors go by pointer. Each GPU gets its modules on first use."""

import struct
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from diff_gaussian_rasterization.cuda.compile import holds_kernel, load_images

Argument = torch.Tensor | int | float | None
_MAX_STATIC_SHARED_BYTES = 48 * 1024
_FLOAT = struct.Struct("=f")
_lock = threading.Lock()


class Runtime(Protocol):
    """Something that runs a kernel by name: a GPU, or in tests the host emulator."""

    def launch(
        self, name: str, grid: tuple[int, int, int], block: int, args: "PackedArguments", shared_bytes: int
    ) -> None: ...


class PackedArguments:
    """Kernel arguments as the driver's `void**`: tensors and None by pointer, int as int32, float as float32. Each lies
    in a word of 8 bytes, of which the driver reads as many as the kernel declares: one array, not an object each."""

    def __init__(self, args: tuple[Argument, ...]) -> None:
        self.words = array("Q", map(_as_word, args))
        first, count = self.words.buffer_info()
        self.pointers = array("Q", range(first, first + 8 * count, 8))

    @property
    def address(self) -> int:
        return self.pointers.buffer_info()[0]


def _as_word(value: Argument) -> int:
    if value is None:
        return 0
    if isinstance(value, torch.Tensor):
        assert value.is_contiguous(), "kernels take contiguous tensors"
        return value.data_ptr()
    return int.from_bytes(_FLOAT.pack(value), sys.byteorder) if isinstance(value, float) else value & 0xFFFFFFFF


class CudaRuntime:
    """The kernels of one GPU, in its primary context (the one torch uses)."""

    def __init__(self, index: int) -> None:
        from cuda.bindings import driver

        self._driver = driver
        self._index = index
        with torch.cuda.device(index):
            torch.cuda.current_stream()  # initializes torch's context
            _check_driver(driver.cuInit(0))
            device = _check_driver(driver.cuDeviceGet(index))
            self._context = _check_driver(driver.cuDevicePrimaryCtxRetain(device))
            _check_driver(driver.cuCtxSetCurrent(self._context))
            images = load_images(torch.cuda.get_device_capability(index))
            self._modules = [(image, _check_driver(driver.cuModuleLoadData(image))) for image in images.values()]
        self._functions: dict[str, Any] = {}

    def _function(self, name: str, shared_bytes: int) -> Any:
        if name not in self._functions:
            self._functions[name] = self._find(name, shared_bytes)
        return self._functions[name]

    def _find(self, name: str, shared_bytes: int) -> Any:
        driver = self._driver
        for image, module in self._modules:
            if holds_kernel(image, name):
                function = _check_driver(driver.cuModuleGetFunction(module, name.encode()))
                if shared_bytes > _MAX_STATIC_SHARED_BYTES:
                    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                    _check_driver(driver.cuFuncSetAttribute(function, attribute, shared_bytes))
                return function
        raise KeyError(f"no CUDA kernel named {name}")

    def launch(
        self, name: str, grid: tuple[int, int, int], block: int, args: PackedArguments, shared_bytes: int
    ) -> None:
        driver = self._driver
        with current_context(driver, self._context):
            function = self._function(name, shared_bytes)
            stream = torch.cuda.current_stream(self._index).cuda_stream
            status = driver.cuLaunchKernel(function, *grid, block, 1, 1, shared_bytes, stream, args.address, 0)
        _check_driver(status)


@contextmanager
def current_context(driver: Any, context: Any) -> Iterator[None]:
    """Makes a context current. One that had to be borrowed is given back: torch takes the current device from it."""
    borrowed = int(_check_driver(driver.cuCtxGetCurrent())) != int(context)
    if borrowed:
        _check_driver(driver.cuCtxPushCurrent(context))
    try:
        yield
    finally:
        if borrowed:
            _check_driver(driver.cuCtxPopCurrent())


def _check_driver(result: tuple) -> Any:
    from cuda.bindings import driver

    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        name = driver.cuGetErrorName(status)[1]
        raise RuntimeError(f"CUDA driver: {name.decode() if name else status}")
    return values[0] if values else None


_runtimes: dict[torch.device, Runtime] = {}


def runtime_for(device: torch.device) -> Runtime:
    """The runtime of a device, made on first use. Raises RuntimeError for a device that has none."""
    found = _runtimes.get(device)
    if found is None:
        with _lock:
            found = _runtimes.get(device)
            if found is None:
                if device.type != "cuda":
                    raise RuntimeError(f"no CUDA kernels for tensors on {device}")
                index = torch.cuda.current_device() if device.index is None else device.index
                found = _runtimes[device] = CudaRuntime(index)
    return found


def register_runtime(device: torch.device, runtime: Runtime | None) -> None:
    """Puts a runtime in place for a device, or takes it away (None): how the tests run kernels on the host emulator."""
    if runtime is None:
        _runtimes.pop(device, None)
    else:
        _runtimes[device] = runtime


def launch(
    device: torch.device,
    name: str,
    grid: tuple[int, int, int],
    block: int,
    *args: Argument,
    shared_bytes: int = 0,
) -> None:
    """Runs kernel `name` over `grid` blocks of `block` threads; an empty grid is no launch."""
    if min(grid) > 0:
        runtime_for(device).launch(name, grid, block, PackedArguments(args), shared_bytes)


def blocks(count: int, per_block: int) -> int:
    """How many blocks of `per_block` threads cover `count` items."""
    return (count + per_block - 1) // per_block
