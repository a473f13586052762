"""A long shift in a short loop: a model is opened, judges photographs of several sizes, and is closed, again and again.
Do memory, file handles, threads and the memory of a GPU, where there is one, stay what they were? Each worker works a
shift of its own.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.faults import tiny
from benchmarks.faults.forked import run_forked
from benchmarks.faults.workers import Outcome, Trials, in_time, seconds_left
from gaussian_splatting.images import read_image
from PAD_utils.inspector import Inspector
from PAD_utils.run.job import choose_device

_AT_ONCE = 20  # photographs that a model judges before it is closed
_MOST_GROWTH = 1.02


def prepare(seed: int, workspace: Path) -> Trials:
    """Trains a model; returns the trials: one is a model opened, asked about 20 photographs, and closed."""
    logging.getLogger("PAD_utils").setLevel(logging.ERROR)  # each model warns anew
    data, output = workspace / "data", workspace / "out"
    root = tiny.make_class(data)
    ending = run_forked(tiny.job(data, output, base=tiny.USUAL), workspace)
    assert ending.code == 0, ending.err
    photographs = [read_image(path) for path in sorted((root / "test").rglob("*.png"))]

    def trials(numbers: Sequence[int], _: Path) -> Iterator[Outcome]:
        begun, limit, first, device = time.monotonic(), seconds_left(), None, choose_device(None)
        for number in in_time(numbers):
            draw = np.random.default_rng((seed, number))
            chosen = [photographs[i] for i in draw.integers(len(photographs), size=_AT_ONCE)]
            with Inspector.load(output / "inspector", device=device) as inspector:
                seen = len(inspector.inspect_many([photo[: 16 - 2 * int(draw.integers(2))] for photo in chosen]))
            yield Outcome(number, {"models": 1, "photographs": seen})
            share = max(numbers.index(number) / len(numbers), (time.monotonic() - begun) / limit)
            first = first or (_state() if share >= 0.1 else None)
        if first is not None:
            yield _growth(number, first, _state())

    return trials


def _growth(number: int, first: dict[str, int], last: dict[str, int]) -> Outcome:
    """How the end compares with the first tenth, as counted for the last trial."""
    growth = {f"{name}, end over first tenth": last[name] / first[name] for name in first}
    grown = {name: value for name, value in growth.items() if value > _MOST_GROWTH}
    return Outcome(number, {"shifts": 1}, {**growth, **last}, f"{grown}" if grown else None)


def _state() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    on_gpu = {"memory of the GPU in bytes": torch.cuda.memory_reserved()} if torch.cuda.is_initialized() else {}
    return {
        **on_gpu,
        "memory in bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "file handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "threads of Python": threading.active_count(),
    }
