"""Work in a process of its own that has everything imported already: a copy of this one, made in milliseconds.

The parent must not have run anything that starts threads (torch on one thread starts none).
"""

import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST_S = 30.0
MOST_BYTES = 4 << 30


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
        """What no ending may be, whatever went in: a traceback, a crash, a hang, too much memory. None: it is neither."""
        if self.hung:
            return f"hangs: more than {LONGEST_S:.0f} s"
        if self.peak_bytes > MOST_BYTES:
            return f"takes {self.peak_bytes / 1e9:.1f} GB"
        if self.code == 0 or self.is_refusal:
            return None
        return f"ends with {self.code}: {self.complaint[:300]}"


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
    hung = not _ends_within(pid, limit_s if kill_after_s is None else kill_after_s)
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


def limit_address_space(more_bytes: int) -> None:
    """Lets this process take so much more memory than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _ends_within(pid: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(1000 * seconds))
    finally:
        os.close(descriptor)


def _be_child(work: Callable[[], int], out: Path, err: Path) -> None:
    """Never returns."""
    code = 1
    try:
        for stream, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), stream)
        code = work()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
