"""One run of the main job in a process of its own. Loads no torch: this is what Ray's workers import."""

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PAD_utils.errors import UserError
from PAD_utils.files import explaining, read_json, write_json

RECORD, LOG = "job.json", "job.log"
_SCRIPTS = Path(__file__).parents[2]  # the checkout: the scripts are no part of the installed packages
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_LIBC = ctypes.CDLL(None)  # here, for a process that has just been forked may not load anything


@dataclass(frozen=True)
class Task:
    """A run to make: what it is called, the scripts and arguments that make it one after the other, the folder it fills
    and the fingerprint of its settings and data."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    folder: Path
    identity: str
    environment: Mapping[str, str]

    def is_done(self) -> bool:
        """Whether the folder holds this very run, finished."""
        record = read_record(self.folder)
        return (
            record.get("identity") == self.identity
            and record.get("error") is None
            and record.get("metrics") == _fingerprint(self.folder / "metrics.json")
        )


def read_record(folder: Path) -> dict[str, Any]:
    """The job.json of a folder; empty where there is none, or a damaged one: it costs a run, never the tables."""
    try:
        content = read_json(folder / RECORD)
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def run_task(task: Task) -> str | None:
    """Runs the commands of a task and records how that went; returns None, or why it failed, in a line.

    The processes end when this one does, however it ends. Raises UserError when the folder cannot be written to.
    """
    started, peak, error = time.monotonic(), 0, None
    with explaining(task.folder):
        task.folder.mkdir(parents=True, exist_ok=True)
    with explaining(task.folder), (task.folder / LOG).open("wb") as log:
        for command in task.commands:
            error, memory = _run(command, log, task.environment)
            peak = max(peak, memory)
            if error is not None:
                break
    content = {
        "identity": task.identity,
        "error": error,
        "metrics": None if error else _fingerprint(task.folder / "metrics.json"),
        "seconds": time.monotonic() - started,
        "peak_memory_bytes": peak,
        "host": socket.gethostname(),
    }
    write_json(task.folder / RECORD, content)
    return error


def record_failure(task: Task, error: str) -> None:
    """What only the scheduler knows: the worker died with its job."""
    write_json(task.folder / RECORD, {"identity": task.identity, "error": error})


def _run(command: Sequence[str], log: Any, environment: Mapping[str, str]) -> tuple[str | None, int]:
    """(Why it failed or None, the most memory it held in bytes)."""
    script, *arguments = command
    process = subprocess.Popen(
        [sys.executable, str(_SCRIPTS / script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        preexec_fn=partial(_die_with, os.getpid()) if sys.platform == "linux" else None,
    )
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:  # Ctrl-C reaches the child as well; wait until it has let go of its files
        process.kill()
        process.wait()
        raise
    code = process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return (None if code == 0 else _reason(code, Path(log.name))), peak


def _reason(code: int, log: Path) -> str:
    """A line for people: the error that the run itself named, or what ended it."""
    if code < 0:
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"ended by {signal.Signals(-code).name}{hint}; see {log}"
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("error: ")]
    last = named[-1].removeprefix("error: ") if named else lines[-1].strip() if lines else "said nothing"
    return last if named else f"{last}; see {log}"


def _die_with(parent: int) -> None:
    """In the child before it becomes the job: it is killed when its parent ends, even by kill -9."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _fingerprint(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
    return None
