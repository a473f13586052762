"""The numbered trials of a campaign, shared among copies of this process, each in a folder of its own."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_deadline: float | None = None
_OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What came of trial `number`: `counts` are added up over all trials, of `most` the greatest is kept. `fault`: what
    must not be; None: all is well."""

    number: int
    counts: dict[str, int]
    most: dict[str, float] = field(default_factory=dict)
    fault: str | None = None


# The outcomes of trials with these numbers, in turn, in a folder of one's own; may end early when time is over.
Trials = Callable[[Sequence[int], Path], Iterator[Outcome]]


def stop_after(minutes: float | None) -> None:
    """Campaigns end then with what they have done by that time."""
    global _deadline
    _deadline = None if minutes is None else time.monotonic() + 60 * minutes


def seconds_left() -> float:
    """Until campaigns end; infinite without a limit."""
    return float("inf") if _deadline is None else _deadline - time.monotonic()


def in_time(numbers: Sequence[int]) -> Iterator[int]:
    """The numbers, until time is over."""
    for number in numbers:
        if seconds_left() <= 0:
            return
        yield number


def run_shared(trials: Trials, numbers: Sequence[int], workers: int, workspace: Path) -> dict[str, Any]:
    """Runs the trials in `workers` processes; returns the figures. Trial k is done by worker k modulo `workers`, so
    each is done once; how many were done in time is counted by the lines that the workers leave."""
    folders = [workspace / f"worker-{worker}" for worker in range(workers)]
    pids = [_start(trials, numbers[worker::workers], folder) for worker, folder in enumerate(folders)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    outcomes = [outcome for folder in folders for outcome in _read(folder / _OUTCOMES)]
    counts, most = Counter[str](), dict[str, float]()
    for outcome in outcomes:
        counts.update(outcome.counts)
        most.update({name: max(value, most.get(name, value)) for name, value in outcome.most.items()})
    failed = {o.number: o.fault for o in sorted(outcomes, key=lambda o: o.number) if o.fault}
    dead = [f"worker {worker} ended with {code}" for worker, code in enumerate(codes) if code]
    return {
        "workers": workers,
        "asked": len(numbers),
        "done": len({outcome.number for outcome in outcomes}),
        "counts": dict(sorted(counts.items())),
        "most": most,
        "failures": len(failed) + len(dead),
        "failed": {**failed, **({"workers": dead} if dead else {})},
    }


def _start(trials: Trials, numbers: Sequence[int], folder: Path) -> int:
    """The id of a copy of this process that does the trials."""
    folder.mkdir(parents=True)
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        with (folder / _OUTCOMES).open("w") as lines:
            for outcome in trials(numbers, folder):
                print(json.dumps(asdict(outcome)), file=lines, flush=True)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _read(path: Path) -> list[Outcome]:
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
