"""CUDA sources to machine code with NVRTC, which comes with torch's CUDA wheels: no nvcc, no CUDA_HOME, no torch ABI.

The result is cached on disk under a key of all that decides it: sources, options, architecture, NVRTC version."""

import hashlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from diff_gaussian_rasterization.sources import csrc_dir

_OPTIONS = ("--std=c++17", "-default-device", "-lineinfo")
_OPTIONS_MARK = "// options:"
_DIGEST_BYTES = 32


class CudaCompileError(RuntimeError):
    """NVRTC is missing or refused a source; the message holds its log."""


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/diff_gaussian_rasterization, or the same under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "diff_gaussian_rasterization"


def _check(result: tuple, program: object = None) -> Any:
    from cuda.bindings import nvrtc

    status, *values = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = compile_log(program) if program is not None else ""
        raise CudaCompileError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status)[1].decode()}\n{log}")
    return values[0] if len(values) == 1 else values


def compile_log(program: object) -> str:
    """What NVRTC said about `program`; empty if it has nothing to complain of."""
    from cuda.bindings import nvrtc

    size = nvrtc.nvrtcGetProgramLogSize(program)[1]
    text = bytearray(size)  # bytes may be shared: b" " * 1 is the one b" " of the whole process
    nvrtc.nvrtcGetProgramLog(program, text)
    return text.decode(errors="replace").strip("\0 \n")


def nvrtc_version() -> tuple[int, int]:
    """(major, minor) of the NVRTC at hand. Raises CudaCompileError if there is none."""
    try:
        from cuda.bindings import nvrtc

        _, major, minor = nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise CudaCompileError(
            f"CUDA tensors need NVRTC through the package cuda-bindings (pip install cuda-bindings): {error}"
        ) from error
    return major, minor


def target_of(capability: tuple[int, int]) -> str:
    """`sm_90` for (9, 0); `compute_XX` (PTX, finished by the driver) if the GPU is newer than this NVRTC."""
    from cuda.bindings import nvrtc

    wanted = capability[0] * 10 + capability[1]
    known = _check(nvrtc.nvrtcGetSupportedArchs())
    if wanted in known:
        return f"sm_{wanted}"
    older = [a for a in known if a <= wanted]
    if not older:
        raise CudaCompileError(
            f"compute capability {capability[0]}.{capability[1]} is too old for NVRTC {nvrtc_version()}"
        )
    return f"compute_{max(older)}"


def _options_of(text: str) -> list[str]:
    """The options that a source asks for itself in a first line `// options: ...`."""
    first = text.partition("\n")[0]
    return first.removeprefix(_OPTIONS_MARK).split() if first.startswith(_OPTIONS_MARK) else []


def compile_source(name: str, target: str) -> tuple[bytes, str]:
    """(machine code or PTX, NVRTC's log) of csrc/cuda/<name>.cu. Raises CudaCompileError with the log."""
    from cuda.bindings import nvrtc

    root = csrc_dir()
    text = (root / "cuda" / f"{name}.cu").read_text()
    program = _check(nvrtc.nvrtcCreateProgram(text.encode(), f"{name}.cu".encode(), 0, [], []))
    flags = [f"--gpu-architecture={target}", f"-I{root}", f"-I{root / 'cuda'}", *_OPTIONS, *_options_of(text)]
    options = [f.encode() for f in flags]
    _check(nvrtc.nvrtcCompileProgram(program, len(options), options), program)
    log = compile_log(program)
    if target.startswith("sm_"):
        size, read = nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN
    else:
        size, read = nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX
    image = bytearray(int(_check(size(program))))
    _check(read(program, image))
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(image), log


def holds_kernel(image: bytes, name: str) -> bool:
    """Whether a compiled image defines the kernel: in machine code a symbol, in PTX an entry."""
    return f"{name}\0".encode() in image or f".entry {name}(".encode() in image


def source_names() -> list[str]:
    """Every translation unit: the stems of csrc/cuda/*.cu."""
    return sorted(p.stem for p in (csrc_dir() / "cuda").glob("*.cu"))


def _cache_key(name: str, target: str) -> str:
    root = csrc_dir()
    digest = hashlib.sha256(repr((target, _OPTIONS, nvrtc_version())).encode())
    files = [root / "cuda" / f"{name}.cu", *sorted((root / "common").glob("*.h")), *sorted((root / "cuda").glob("*.h"))]
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{name}-{target}-{digest.hexdigest()[:32]}"


def _read_cached(path: Path) -> bytes | None:
    """The image in a cache file, or None if it is absent or its checksum does not hold."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, image = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return image if image and hashlib.sha256(image).digest() == digest else None


def _write_cached(path: Path, image: bytes) -> None:
    """Writes a cache file under a temporary name and renames it; a cache that cannot be written is no error."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(image).digest() + image)
        os.replace(temporary, path)
    except OSError as error:
        print(f"diff_gaussian_rasterization: kernels not cached: {error}", file=sys.stderr)


def load_images(capability: tuple[int, int]) -> dict[str, bytes]:
    """The compiled image of every translation unit, from the cache or compiled side by side (one line of progress)."""
    target = target_of(capability)
    paths = {name: cache_folder() / f"{_cache_key(name, target)}.bin" for name in source_names()}
    images = {name: _read_cached(path) for name, path in paths.items()}
    missing = [name for name, image in images.items() if image is None]
    if missing:
        start = time.perf_counter()
        print(
            f"diff_gaussian_rasterization: compiling the CUDA kernels for {target} ...",
            file=sys.stderr,
            end="",
            flush=True,
        )
        with ThreadPoolExecutor() as pool:
            for name, (image, _) in zip(missing, pool.map(lambda n: compile_source(n, target), missing), strict=True):
                images[name] = image
                _write_cached(paths[name], image)
        print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return {name: image for name, image in images.items() if image is not None}
