"""Every kernel compiles for every GPU generation without a warning; NVRTC needs no GPU for it."""

from pathlib import Path

import pytest
import torch
from diff_gaussian_rasterization.cuda import compile as cuda_compile
from diff_gaussian_rasterization.sources import csrc_dir

from tests.cuda_emulator import kernel_names

pytest.importorskip("cuda.bindings", reason="NVRTC comes with the package cuda-bindings")


def _nvrtc_works() -> bool:
    try:
        cuda_compile.nvrtc_version()
    except cuda_compile.CudaCompileError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _nvrtc_works(), reason="no libnvrtc on this machine")


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("name", cuda_compile.source_names())
def test_kernels_compile_without_a_warning(name: str, target: str) -> None:
    image, log = cuda_compile.compile_source(name, target)
    assert log == ""
    assert image.startswith(b"\x7fELF")
    assert b" "[0] == 0x20  # an empty log was once written into Python's own constant


def test_a_gpu_newer_than_nvrtc_gets_ptx() -> None:
    target = cuda_compile.target_of((99, 0))
    assert target.startswith("compute_")
    image = cuda_compile.compile_source("bin", target)[0]
    assert b".version" in image
    assert cuda_compile.holds_kernel(image, "sort_tiles")


def test_every_kernel_is_found_in_one_image() -> None:
    images = {name: cuda_compile.compile_source(name, "sm_90")[0] for name in cuda_compile.source_names()}
    for name in cuda_compile.source_names():
        text = (csrc_dir() / "cuda" / f"{name}.cu").read_text()
        for kernel in kernel_names(text):
            assert [n for n, image in images.items() if cuda_compile.holds_kernel(image, kernel)] == [name]


def test_the_cache_is_used_and_a_broken_entry_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cuda_compile, "source_names", lambda: ["bin"])
    first = cuda_compile.load_images((9, 0))
    assert "compiling the CUDA kernels for sm_90" in capfd.readouterr().err
    (entry,) = cuda_compile.cache_folder().iterdir()
    assert cuda_compile.load_images((9, 0)) == first
    assert capfd.readouterr().err == ""
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cuda_compile.load_images((9, 0)) == first
    assert "compiling" in capfd.readouterr().err


def test_importing_needs_no_gpu_and_a_cpu_tensor_has_no_kernels() -> None:
    from diff_gaussian_rasterization.cuda import launch as cuda_launch

    with pytest.raises(RuntimeError, match="no CUDA kernels for tensors on meta"):
        cuda_launch.runtime_for(torch.device("meta"))


def test_a_launch_on_another_gpu_gives_the_context_back() -> None:
    """Torch takes the current device from it. A driver of two contexts stands in for two GPUs."""
    from cuda.bindings import driver
    from diff_gaussian_rasterization.cuda.launch import current_context

    class Driver:
        stack = [11]

        def cuCtxGetCurrent(self) -> tuple[driver.CUresult, int]:
            return driver.CUresult.CUDA_SUCCESS, self.stack[-1]

        def cuCtxPushCurrent(self, context: int) -> tuple[driver.CUresult]:
            self.stack.append(context)
            return (driver.CUresult.CUDA_SUCCESS,)

        def cuCtxPopCurrent(self) -> tuple[driver.CUresult, int]:
            return driver.CUresult.CUDA_SUCCESS, self.stack.pop()

    two = Driver()
    for context in (11, 22):
        with pytest.raises(KeyError), current_context(two, context):
            assert two.stack[-1] == context
            raise KeyError("no such kernel")
        assert two.stack == [11]
