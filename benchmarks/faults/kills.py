"""kill -9 at a random moment, then the same command: are the results those of an undisturbed run, and is nothing lost?

Every second trial kills after a random time, the others at a random operation on a file: those moments are short, and
the ones that matter. One trial in four is killed twice.
"""

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults import tiny
from benchmarks.faults.forked import Ending, run_forked, warm_up
from benchmarks.faults.workers import Outcome, Trials, in_time
from PAD_utils.evaluate.maps import read_map
from PAD_utils.files import read_checked_json, read_json, write_checked_json

_FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


@dataclass(frozen=True)
class Scenario:
    """A command and how often it is drawn; `prepare` fills the folder that it finds."""

    name: str
    weight: int
    command: Callable[[Path], Callable[[], int]]
    prepare: Callable[[Path], None] = lambda output: None


@dataclass(frozen=True)
class Measured:
    """An undisturbed run: what it leaves, its seconds, and its operations on files."""

    results: dict[str, object]
    seconds: float
    operations: int


def prepare(seed: int, workspace: Path) -> Trials:
    """Measures each scenario undisturbed; returns the trials, drawn by their numbers."""
    data = workspace / "data"
    tiny.make_class(data)
    source = tiny.snapshot(data)
    warm_up(tiny.job(data, workspace / "warm"))
    scenarios = _scenarios(data, workspace)
    known = {scenario.name: _measure(scenario, workspace) for scenario in scenarios}

    def trials(numbers: Sequence[int], folder: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            draw = random.Random(f"{seed} {number}")
            scenario = draw.choices(scenarios, [s.weight for s in scenarios])[0]
            counts, faults = _trial(scenario, known[scenario.name], draw, folder)
            if tiny.differences(source, tiny.snapshot(data)):
                faults.append("the source pictures were changed")
            fault = f"{scenario.name}: {'; '.join(faults[:5])}" if faults else None
            yield Outcome(number, {scenario.name: 1, **counts}, fault=fault)

    return trials


def _trial(scenario: Scenario, known: Measured, draw: random.Random, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Kills the command once or twice, and lets it go on; what is counted, and what went wrong."""
    output = folder / "trial"
    shutil.rmtree(output, ignore_errors=True)
    scenario.prepare(output)
    faults: list[str] = []
    kills, interrupted = 1 + (draw.random() < 0.25), 0
    for _ in range(kills):
        ending = _killed(scenario, output, known, draw, folder)
        interrupted += ending.code == -signal.SIGKILL
        faults += _halves(output)
    again = run_forked(scenario.command(output), folder)
    wrong = tiny.differences(known.results, tiny.snapshot(output))
    if again.code != 0 or wrong:
        faults.append(f"ends with {again.code} {again.complaint[:200]} {wrong[:5]}")
    return {"kills": kills, "kills that interrupted": interrupted}, faults


def _scenarios(data: Path, workspace: Path) -> list[Scenario]:
    finished = workspace / "finished"
    ending = run_forked(tiny.job(data, finished), workspace)
    assert ending.code == 0, ending.err

    def trained(output: Path) -> None:
        shutil.copytree(finished, output)

    def only_model(output: Path) -> None:
        trained(output)
        shutil.rmtree(output / "inspector")
        state = read_checked_json(output / "state.json")
        write_checked_json(output / "state.json", {"train": state["train"]})

    photos = str(data / tiny.NAME / "test" / "good")
    images = "--images", photos
    return [
        Scenario("main job", 12, lambda output: tiny.job(data, output)),
        Scenario("main job, default poses", 1, lambda output: tiny.job(data, output, base=tiny.USUAL)),
        Scenario("inspection", 12, lambda output: tiny.job(data, output, "-train", "0", *images), trained),
        Scenario("first inspection", 5, lambda output: tiny.job(data, output, "-train", "0", *images), only_model),
    ]


def _measure(scenario: Scenario, workspace: Path) -> Measured:
    output = workspace / "trial"
    shutil.rmtree(output, ignore_errors=True)
    scenario.prepare(output)
    counted = workspace / "operations.txt"

    def counting() -> int:
        seen = [0]
        _watch(seen, None)
        code = scenario.command(output)()
        counted.write_text(str(seen[0]))
        return code

    ending = run_forked(counting, workspace)
    assert ending.code == 0, ending.err
    return Measured(tiny.snapshot(output), ending.seconds, int(counted.read_text()))


def _killed(scenario: Scenario, output: Path, known: Measured, draw: random.Random, workspace: Path) -> Ending:
    """The command, killed."""
    work = scenario.command(output)
    if draw.random() < 0.5:
        return run_forked(work, workspace, kill_after_s=draw.uniform(0, 1.05 * known.seconds))
    last = draw.randrange(known.operations)

    def killing() -> int:
        _watch([0], last)
        return work()

    return run_forked(killing, workspace)


def _watch(seen: list[int], last: int | None) -> None:
    """Counts this process' changes of files from now on, and kills it before number `last`."""

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _FILE_EVENTS or (event == "open" and not _writes(arguments)):
            return
        if seen[0] == last:
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1

    sys.addaudithook(heard)


def _writes(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 3 and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def _halves(output: Path) -> list[str]:
    """Files that stand under their names and are not whole."""
    faults = []
    for path in output.rglob("*"):
        if path.name.startswith(".") or path.is_dir():
            continue
        try:
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".tiff":
                read_map(path)
            elif path.stat().st_size == 0:
                raise ValueError("empty")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            faults.append(f"{path.relative_to(output)} is not whole after the kill ({error})")
    return faults
