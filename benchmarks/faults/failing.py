"""A small library that is loaded into a process before all others, by which its disk, its memory and that of its GPU
fail from a chosen point on; and what a job does then. Needs a C compiler (cc)."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.forked import run_forked

_SOURCES = [Path(__file__).with_name(f"failing_{what}.c") for what in ("disk", "memory", "gpu")]
_PRELOADED = "SPLATPOSE_FAILING"


def preload(workspace: Path) -> None:
    """Compiles the library, and replaces this process by one that has loaded it."""
    if os.environ.get(_PRELOADED):
        return
    library = workspace / "failing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, *_SOURCES, "-ldl"], check=True)
    environment = {**os.environ, _PRELOADED: str(library), "LD_PRELOAD": str(library)}
    code = subprocess.run([sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]], env=environment).returncode
    sys.exit(code)


def failing() -> ctypes.CDLL:
    """The library, in a process that `preload` has started."""
    library = ctypes.CDLL(os.environ[_PRELOADED])
    library.faults_fail_after.argtypes = ctypes.c_long, ctypes.c_int
    library.faults_no_memory_after.argtypes = ctypes.c_long, ctypes.c_size_t
    library.faults_no_gpu_memory_after.argtypes = (ctypes.c_long,)
    for count in ("calls", "allocations", "gpu_requests"):
        getattr(library, f"faults_{count}").restype = ctypes.c_long
    return library


def struck(
    trouble: Callable[[], None],
    job: Callable[[Path], Callable[[], int]],
    differing: Callable[[Path], list[str]],
    folder: Path,
) -> tuple[str, str | None]:
    """How a job ends that trouble strikes, "done" or "refused", and what went wrong then or when it went on without:
    None, if it left nothing `differing` from what it leaves undisturbed."""
    output = folder / "trial"
    shutil.rmtree(output, ignore_errors=True)
    ending = run_forked(lambda: (trouble(), job(output)())[1], folder)
    again = run_forked(job(output), folder)
    if ending.misbehavior:
        return "fault", f"{ending.misbehavior} ... {ending.err[-1500:]}"
    if again.code:
        return "fault", f"does not go on: {again.code} {again.err[-1500:]}"
    if wrong := differing(output):
        return "fault", f"other results: {wrong[:5]}"
    return "done" if ending.code == 0 else "refused", None
