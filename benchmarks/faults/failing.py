"""A small library that is loaded into a process before all others, by which its disk and memory fail from a chosen
point on. Needs a C compiler (cc)."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

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
