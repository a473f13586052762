"""Work in a process of its own that has everything imported already: a copy of this one, made in milliseconds.

The parent must not have run anything that starts threads (torch on one thread starts none).
"""

import io
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from tqdm.std import tqdm

LONGEST_S = 30.0
MOST_BYTES = 4 << 30
_PATIENCE = 10  # times as long by the clock as of a process' own time
_KEPT = 4000  # characters of what a process said


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit code, or minus the signal; what it said; wall seconds, CPU seconds and most memory.
    `hung`: it was killed because it took longer than allowed."""

    code: int
    out: str
    err: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    hung: bool = False

    @property
    def complaint(self) -> str:
        """The last line on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]

    @property
    def is_refusal(self) -> bool:
        """Whether it is one clear line and exit code 2."""
        return self.code == 2 and "Traceback" not in self.err and self.complaint.startswith("error: ")

    @property
    def misbehavior(self) -> str | None:
        """What no ending may be, whatever went in: a traceback, a crash, a hang, too much memory; None: it is fine."""
        if self.hung:
            return f"hangs: more than {LONGEST_S:.0f} s"
        if self.peak_bytes > MOST_BYTES:
            return f"takes {self.peak_bytes / 1e9:.1f} GB"
        if self.code == 0 or self.is_refusal:
            return None
        return f"ends with {self.code}: {self.complaint[:300]}"


def warm_up(work: Callable[[], int]) -> None:
    """Does the work in this process, so that its copies have loaded and compiled what it needs. It may leave no thread
    behind; what it says is thrown away."""
    cv2.setNumThreads(1)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        assert work() == 0
    logging.getLogger().handlers.clear()  # they would go on to write there


def run_forked(
    work: Callable[[], int],
    folder: Path,
    kill_after_s: float | None = None,
    limit_s: float = LONGEST_S,
) -> Ending:
    """Calls `work`, which returns an exit code, in a copy of this process; what it prints goes through files in
    `folder`. With `kill_after_s` it gets SIGKILL then, if it still runs."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    sys.stdout.flush()
    sys.stderr.flush()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_child(work, out, err)
    of_wall = kill_after_s is not None
    hung = not _ends_within(pid, limit_s if kill_after_s is None else kill_after_s, of_wall)
    if hung:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return Ending(
        os.waitstatus_to_exitcode(status),
        out.read_text("utf-8", "replace"),
        err.read_text("utf-8", "replace"),
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        hung and kill_after_s is None,
    )


def _ends_within(pid: int, seconds: float, of_wall: bool = False) -> bool:
    """Whether it ends within so many seconds as `_Watched` counts them. With `of_wall`, by the clock."""
    descriptor = os.pidfd_open(pid)
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    try:
        if of_wall:
            return bool(waiting.poll(1000 * seconds))
        watched = _Watched(pid, seconds)
        while not waiting.poll(1000):
            if watched.hangs():
                return False
        return True
    finally:
        os.close(descriptor)


class _Watched:
    """A process hangs when it has used so many seconds of its own, has done nothing for as many by the clock, or has
    taken ten times as many by the clock: a busy machine makes nobody hang."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self._begun = self._moved = time.monotonic()
        self._first = self._used = _cpu_seconds(pid)

    def hangs(self) -> bool:
        """Whether it hangs by now."""
        now, used = time.monotonic(), _cpu_seconds(self._pid)
        if used > self._used:
            self._moved, self._used = now, used
        limit = self._seconds
        return used - self._first > limit or now - self._moved > limit or now - self._begun > _PATIENCE * limit


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _be_child(work: Callable[[], int], out: Path, err: Path) -> None:
    """Never returns."""
    code = 1
    try:
        code = _code_of(work, out, err)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def run_in_turn(works: Sequence[Callable[[], int]], folder: Path, limit_s: float = LONGEST_S) -> Iterator[Ending]:
    """The endings of many works, one after the other in one copy of this process; one that hangs or crashes costs its
    copy, and the next goes on in another."""
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    while done < len(works):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _work_through(works[done:], folder, writer)
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as lines:
            while done < len(works) and (line := _line(lines, pid, limit_s)):
                yield Ending(**json.loads(line))
                done += 1
        crashed = done < len(works)
        hung = crashed and not _ends_within(pid, 0.2, of_wall=True)
        if hung:
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        if crashed:
            err = (folder / "stderr.txt").read_text("utf-8", "replace")
            code, seconds = os.waitstatus_to_exitcode(status), limit_s if hung else 0.0
            yield Ending(code, "", err, seconds, 0.0, usage.ru_maxrss * 1024, hung)
            done += 1


def _line(lines: io.RawIOBase, pid: int, seconds: float) -> bytes:
    """The next line, or nothing when it does not come in time, or the writer is gone."""
    watched = _Watched(pid, seconds)
    while not select.select([lines], [], [], 1.0)[0]:
        if watched.hangs():
            return b""
    return lines.readline()


def _work_through(works: Sequence[Callable[[], int]], folder: Path, writer: int) -> None:
    """Never returns."""
    try:
        for work in works:
            _reset_peak()
            start, cpu = time.monotonic(), time.process_time()
            code = _code_of(work, folder / "stdout.txt", folder / "stderr.txt")
            sys.stdout.flush()
            sys.stderr.flush()
            said = [(folder / f"{name}.txt").read_text("utf-8", "replace")[-_KEPT:] for name in ("stdout", "stderr")]
            ending = Ending(code, *said, time.monotonic() - start, time.process_time() - cpu, _peak())
            os.write(writer, json.dumps(asdict(ending)).encode() + b"\n")
    finally:
        os._exit(0)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory in bytes since the last reset."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _code_of(work: Callable[[], int], out: Path, err: Path) -> int:
    """The exit code that a process ending like this would have; output goes to the two files."""
    tqdm.set_lock(threading.RLock())  # the one it comes with is shared with copies that were killed holding it
    for stream, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, stream)
        os.close(opened)
    try:
        return work()
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
