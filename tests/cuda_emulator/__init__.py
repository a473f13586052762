"""Builds csrc/cuda/*.cu for the host and stands in for a GPU's runtime: see emulator.h."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diff_gaussian_rasterization.cuda.launch import PackedArguments
from diff_gaussian_rasterization.sources import csrc_dir

_HERE = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-x", "c++", "-Wno-unknown-pragmas", "-Wno-attributes")
_KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s*)?(\w+)\(')
_MACRO_KERNEL = re.compile(r"^UPDATE_SPLATS\((\d+)\)", re.MULTILINE)


def kernel_names(text: str) -> list[str]:
    """The kernels that a .cu file defines."""
    names = [name for name in _KERNEL.findall(text) if not name.endswith("_")]
    return names + [f"update_splats_{k}" for k in _MACRO_KERNEL.findall(text)]


def _build(source: Path, folder: Path) -> Path:
    """The shared library of one .cu file, with an `emulate_<kernel>(grid, threads, args)` for each kernel."""
    text = source.read_text()
    launchers = "\n".join(
        f'extern "C" void emulate_{name}(const int* grid, int threads, void** args) '
        f"{{ emulator::launch({name}, grid, threads, args); }}"
        for name in kernel_names(text)
    )
    body = text.replace("extern __shared__ float shared[];", "float* shared = emulated_shared_storage;")
    wrapped = folder / f"{source.stem}.cpp"
    wrapped.write_text(f"{body}\n{launchers}\n")
    library = folder / f"{source.stem}.so"
    root = csrc_dir()
    command = ["g++", *_FLAGS, f"-I{root}", f"-I{root / 'cuda'}", "-include", str(_HERE / "emulator.h")]
    done = subprocess.run([*command, "-o", str(library), str(wrapped)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


class EmulatedRuntime:
    """Runs kernels by name on tensors in ordinary memory."""

    def __init__(self, folder: Path) -> None:
        sources = sorted((csrc_dir() / "cuda").glob("*.cu"))
        with ThreadPoolExecutor() as pool:
            self._libraries = [ctypes.CDLL(str(p)) for p in pool.map(lambda s: _build(s, folder), sources)]

    def launch(
        self, name: str, grid: tuple[int, int, int], block: int, args: PackedArguments, shared_bytes: int
    ) -> None:
        for library in self._libraries:
            function = getattr(library, f"emulate_{name}", None)
            if function is not None:
                function((ctypes.c_int * 3)(*grid), block, ctypes.c_void_p(args.address))
                return
        raise KeyError(f"no kernel named {name}")


def available() -> bool:
    """Whether this machine can build the emulator."""
    return shutil.which("g++") is not None


def source_digest() -> str:
    """Changes with every source, for caching a build within a session."""
    digest = hashlib.sha256()
    for path in sorted(csrc_dir().rglob("*.[ch]*")) + [_HERE / "emulator.h"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
