"""A disk that fills up, one that becomes read-only, and too little memory, each at random points of a run: it ends in
one line and exit code 2, and the same command goes on to the same results once there is room.

Needs a C compiler (cc): the failing disk is a small library that is loaded into the process.
"""

import ctypes
import errno
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults import tiny
from benchmarks.faults.forked import Ending, in_time, limit_address_space, run_forked, warm_up

_SOURCE = Path(__file__).with_name("failing_disk.c")
_PRELOADED = "SPLATPOSE_FAILING_DISK"
_MOST_MORE = 160 << 20  # bytes of address space beyond what the process has: with so many the tiny job mostly ends well
_KINDS = {"disk full": errno.ENOSPC, "read-only": errno.EROFS, "quota": errno.EDQUOT, "memory": 0}


def campaign(count: int, seed: int, workspace: Path) -> dict[str, Any]:
    """Runs `count` points; returns the figures. Starts itself anew with the library, the first time."""
    _preload(workspace)
    data = workspace / "data"
    tiny.make_class(data)
    source = tiny.snapshot(data)
    warm_up(tiny.job(data, workspace / "warm"))
    expected, calls = _undisturbed(data, workspace)
    draw, failures, ends = random.Random(seed), [], Counter[str]()
    for point in range(count):
        if not in_time():
            break
        kind = draw.choice(list(_KINDS))
        output = workspace / "trial"
        shutil.rmtree(output, ignore_errors=True)
        at = draw.randrange(_MOST_MORE) if kind == "memory" else draw.randrange(calls)
        ending = run_forked(_troubled(tiny.job(data, output), kind, at), workspace)
        again = run_forked(tiny.job(data, output), workspace)
        ends[f"{kind}: {'done' if ending.code == 0 else 'refused' if ending.is_refusal else 'fault'}"] += 1
        wrong = tiny.differences(expected, tiny.snapshot(output))
        fault = ending.misbehavior or (again.misbehavior if again.code else None) or (str(wrong[:5]) if wrong else None)
        if fault:
            failures.append(f"point {point}, {kind} at {at}: {fault}")
    if tiny.differences(source, tiny.snapshot(data)):
        failures.append("the source pictures were changed")
    return {
        "points": sum(ends.values()),
        "ends": dict(ends),
        "failures": len(failures),
        "first_failures": failures[:20],
    }


def _preload(workspace: Path) -> None:
    """Compiles the library, and replaces this process by one that has loaded it."""
    if os.environ.get(_PRELOADED):
        return
    library = workspace / "failing_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    environment = {**os.environ, _PRELOADED: str(library), "LD_PRELOAD": str(library)}
    code = subprocess.run([sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]], env=environment).returncode
    sys.exit(code)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ[_PRELOADED])


def _undisturbed(data: Path, workspace: Path) -> tuple[dict[str, object], int]:
    """The results of the job, and how many calls change a file."""
    counted = workspace / "calls.txt"

    def work() -> int:
        _library().faults_fail_after(ctypes.c_long(-1), 0)
        code = tiny.job(data, workspace / "undisturbed")()
        _library().faults_calls.restype = ctypes.c_long
        counted.write_text(str(_library().faults_calls()))
        return code

    ending: Ending = run_forked(work, workspace)
    assert ending.code == 0, ending.err
    return tiny.snapshot(workspace / "undisturbed"), int(counted.read_text())


def _troubled(work: Callable[[], int], kind: str, at: int) -> Callable[[], int]:
    def troubled() -> int:
        if kind == "memory":
            limit_address_space(at)
        else:
            _library().faults_fail_after(ctypes.c_long(at), _KINDS[kind])
        return work()

    return troubled
