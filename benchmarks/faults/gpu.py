"""A GPU whose memory is full from a random request of the allocator on: the job ends in one line and exit code 2, and
the same command goes on once there is room.

Needs a GPU and a C compiler (cc). A GPU adds up in any order, so that files are compared by name and not by content.
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.faults import tiny
from benchmarks.faults.failing import failing, preload
from benchmarks.faults.forked import Ending, run_forked
from benchmarks.faults.workers import Outcome, Trials, in_time

_JOB = ["-c", tiny.NAME, "-gauss_iters", "60", "--device", "cuda"]


def prepare(seed: int, workspace: Path) -> Trials:
    """Counts the requests of an undisturbed job; returns the points, drawn by their numbers. Starts itself anew with
    the library, the first time."""
    preload(workspace)
    data, output, counted = workspace / "data", workspace / "undisturbed", workspace / "requests.txt"
    tiny.make_class(data, size=48)
    source = tiny.snapshot(data)

    def counting() -> int:
        code = tiny.job(data, output, base=_JOB)()
        counted.write_text(str(failing().faults_gpu_requests()))
        return code

    ending = run_forked(counting, workspace)
    assert ending.code == 0, ending.err
    requests, files = int(counted.read_text()), _files(output)
    assert requests > 0, "PyTorch's allocator asked nothing of cudaMalloc"

    def trials(numbers: Sequence[int], folder: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            at = random.Random(f"{seed} {number}").randrange(requests)
            ended, fault = _trial(data, at, files, folder)
            if tiny.differences(source, tiny.snapshot(data)):
                fault = "the source pictures were changed"
            yield Outcome(number, {ended: 1}, {"requests": requests}, fault and f"request {at}: {fault}")

    return trials


def _trial(data: Path, at: int, files: set[str], folder: Path) -> tuple[str, str | None]:
    """How the job ends when there is no memory from that request on, and what went wrong then or when it went on."""
    output = folder / "trial"
    shutil.rmtree(output, ignore_errors=True)
    ending = run_forked(lambda: _without_memory(data, output, at), folder)
    again = run_forked(tiny.job(data, output, base=_JOB), folder)
    fault = _fault(ending, again, sorted(files ^ _files(output)))
    return "fault" if fault else "done" if ending.code == 0 else "refused", fault


def _without_memory(data: Path, output: Path, at: int) -> int:
    failing().faults_no_gpu_memory_after(at)
    return tiny.job(data, output, base=_JOB)()


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _fault(ending: Ending, again: Ending, wrong: list[str]) -> str | None:
    if ending.misbehavior:
        return f"{ending.misbehavior} ... {ending.err[-1500:]}"
    if again.code:
        return f"does not go on: {again.code} {again.err[-1500:]}"
    return f"other files: {wrong[:5]}" if wrong else None
