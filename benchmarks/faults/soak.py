"""A long shift in a short loop: a model is opened, judges photographs of several sizes, and is closed, again and again.
Do memory, file handles and threads stay what they were?
"""

import gc
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import tiny
from benchmarks.faults.forked import in_time, run_forked
from gaussian_splatting.images import read_image
from PAD_utils.inspector import Inspector

_AT_ONCE = 20  # photographs that a model judges before it is closed
_MOST_GROWTH = 1.02


def campaign(count: int, seed: int, workspace: Path) -> dict[str, Any]:
    """Judges `count` photographs; returns the figures after each tenth of the time."""
    data, output = workspace / "data", workspace / "out"
    root = tiny.make_class(data)
    ending = run_forked(tiny.job(data, output, base=tiny.USUAL), workspace)
    assert ending.code == 0, ending.err
    photographs = [read_image(path) for path in sorted((root / "test").rglob("*.png"))]
    draw, seen = np.random.default_rng(seed), 0
    marks = [_state()]
    for mark in range(1, 11):
        while seen < count * mark / 10 and in_time():
            inspector = Inspector.load(output / "inspector")
            chosen = [photographs[i] for i in draw.integers(len(photographs), size=_AT_ONCE)]
            seen += len(inspector.inspect_many([photo[: 16 - 2 * int(draw.integers(2))] for photo in chosen]))
            del inspector
        marks.append(_state())
    growth = {name: marks[-1][name] / marks[1][name] for name in marks[0]}
    return {
        "photographs": seen,
        "models_opened": seen // _AT_ONCE,
        "after_each_tenth": marks,
        "end_over_first_tenth": growth,
        "failures": sum(value > _MOST_GROWTH for value in growth.values()),
    }


def _state() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "file_handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
    }
