"""A GPU whose memory is full from a random request of the allocator on: the job ends in one line and exit code 2, and
the same command goes on once there is room.

Needs a GPU and a C compiler (cc). A GPU adds up in any order, so that files are compared by name and not by content.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.faults import tiny
from benchmarks.faults.failing import failing, preload, struck
from benchmarks.faults.forked import run_forked
from benchmarks.faults.workers import Outcome, Trials, in_time

_JOB = ["-c", tiny.NAME, "-gauss_iters", "60", "--device", "cuda"]


def prepare(seed: int, workspace: Path) -> Trials:
    """Counts the requests of an undisturbed job; returns the points, drawn by their numbers. Starts itself anew with
    the library, the first time."""
    preload(workspace)
    data, output, counted = workspace / "data", workspace / "undisturbed", workspace / "requests.txt"
    tiny.make_class(data, size=48)
    source = tiny.snapshot(data)

    def job(output: Path) -> Callable[[], int]:
        return tiny.job(data, output, base=_JOB)

    def counting() -> int:
        code = job(output)()
        counted.write_text(str(failing().faults_gpu_requests()))
        return code

    ending = run_forked(counting, workspace)
    assert ending.code == 0, ending.err
    requests, files = int(counted.read_text()), _files(output)
    assert requests > 0, "PyTorch's allocator asked nothing of cudaMalloc"

    def trials(numbers: Sequence[int], folder: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            at = random.Random(f"{seed} {number}").randrange(requests)
            full = partial(failing().faults_no_gpu_memory_after, at)
            ended, fault = struck(full, job, lambda output: sorted(files ^ _files(output)), folder)
            if tiny.differences(source, tiny.snapshot(data)):
                fault = "the source pictures were changed"
            yield Outcome(number, {ended: 1}, {"requests": requests}, fault and f"request {at}: {fault}")

    return trials


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
