"""A disk that fills up, one that becomes read-only, and too little memory, each at random points of a run: it ends in
one line and exit code 2, and the same command goes on to the same results once there is room.

Needs a C compiler (cc).
"""

import errno
import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.faults import tiny
from benchmarks.faults.failing import failing, preload, struck
from benchmarks.faults.forked import run_forked, warm_up
from benchmarks.faults.memory import address_space, limit_address_space, most_address_space, simple_heap
from benchmarks.faults.workers import Outcome, Trials, in_time

_DISK = {"disk full": errno.ENOSPC, "read-only": errno.EROFS, "quota": errno.EDQUOT}
_ALLOCATIONS = {"no 4 kB": 1 << 12, "no 64 kB": 1 << 16}  # from a point on, none of so much
_LIMIT = "memory limit"


@dataclass(frozen=True)
class Undisturbed:
    """A job, what it leaves, and for each kind of trouble at how many points it may strike: calls that change a file,
    allocations, bytes of address space that the job takes."""

    job: Callable[[Path], Callable[[], int]]
    results: dict[str, object]
    points: dict[str, int]

    def differing(self, output: Path) -> list[str]:
        """Which files of a folder are not as it leaves them."""
        return tiny.differences(self.results, tiny.snapshot(output))


def prepare(seed: int, workspace: Path) -> Trials:
    """Measures two jobs undisturbed; returns the points, drawn by their numbers. Starts itself anew with the library,
    the first time."""
    preload(workspace)
    simple_heap()
    small, larger = workspace / "small", workspace / "larger"  # where memory counts, pictures are larger
    tiny.make_class(small), tiny.make_class(larger, size=48)
    sources = tiny.snapshot(small), tiny.snapshot(larger)
    warm_up(tiny.job(small, workspace / "warm", base=tiny.USUAL))
    on_disk = _undisturbed(lambda output: tiny.job(small, output), _DISK, workspace)
    in_memory = _undisturbed(
        lambda output: tiny.job(larger, output, base=tiny.USUAL), (*_ALLOCATIONS, _LIMIT), workspace
    )
    known = {kind: of for of in (on_disk, in_memory) for kind in of.points}

    def trials(numbers: Sequence[int], folder: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            draw = random.Random(f"{seed} {number}")
            kind = draw.choice(list(known))
            at = int(
                known[kind].points[kind] * draw.random() ** (2 if kind == _LIMIT else 1)
            )  # most of it late, at once
            threads = draw.choice((1, 4)) if kind == _LIMIT else 1  # each has a stack
            of = known[kind]
            ended, fault = struck(_troubled(kind, at * threads, threads), of.job, of.differing, folder)
            if sources != (tiny.snapshot(small), tiny.snapshot(larger)):
                fault = "the source pictures were changed"
            yield Outcome(number, {f"{kind}: {ended}": 1}, fault=fault and f"{kind} at {at}: {fault}")

    return trials


def _undisturbed(job: Callable[[Path], Callable[[], int]], kinds: Iterable[str], workspace: Path) -> Undisturbed:
    output, points = workspace / "undisturbed", dict[str, int]()
    for kind in kinds:
        if kind not in points:
            shutil.rmtree(output, ignore_errors=True)
            points |= _points(job(output), kind, workspace)
    results = tiny.snapshot(output)
    shutil.rmtree(output)
    return Undisturbed(job, results, {kind: points[kind] for kind in kinds})


def _points(work: Callable[[], int], kind: str, workspace: Path) -> dict[str, int]:
    """At how many points such a trouble may strike, and others that are counted on the way."""
    counted = workspace / "counted.json"

    def counting() -> int:
        library = failing()
        if kind in _ALLOCATIONS:
            library.faults_no_memory_after(-1, _ALLOCATIONS[kind])
        library.faults_fail_after(-1, 0)
        before = address_space()
        code = work()
        many = {_LIMIT: most_address_space() - before, **dict.fromkeys(_DISK, library.faults_calls())}
        counted.write_text(json.dumps({**many, kind: many.get(kind, library.faults_allocations())}))
        return code

    ending = run_forked(counting, workspace)
    assert ending.code == 0, ending.err
    return dict(json.loads(counted.read_text()))


def _troubled(kind: str, at: int, threads: int) -> Callable[[], None]:
    """What brings the trouble, in the process that the job is about to begin in."""

    def trouble() -> None:
        torch.set_num_threads(threads)
        if kind in _DISK:
            failing().faults_fail_after(at, _DISK[kind])
        elif kind in _ALLOCATIONS:
            failing().faults_no_memory_after(at, _ALLOCATIONS[kind])
        else:
            limit_address_space(at)

    return trouble
