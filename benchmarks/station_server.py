"""A real station for benchmarks: in a process of its own, or forked from this one so that it restarts in a second."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import PAD_utils.score.features_lite
import PAD_utils.station.application  # noqa: F401 (what is imported here need not be imported after each fork)
from PAD_utils.station.serve import main

PATIENCE_S = 180.0


@dataclass(frozen=True)
class Running:
    """A station that answers at `address`."""

    pid: int
    address: str

    def memory_mb(self) -> float:
        """What it holds in memory."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def works(self) -> bool:
        try:
            return bool(httpx.get(f"{self.address}/health", timeout=30).json()["works"])
        except (httpx.HTTPError, ValueError, KeyError):
            return False


@contextmanager
def station(arguments: list[str], log: Path) -> Iterator[Running]:
    """`python -m PAD_utils.station` until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "PAD_utils.station", *arguments, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    running = Running(process.pid, f"http://127.0.0.1:{port}")
    try:
        wait_until_it_works(running, process)
        yield running
    except RuntimeError as error:
        raise RuntimeError(f"{error}; the station said:\n{log.read_text()[-4000:]}") from None
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def forked(arguments: list[str], port: int, log: Path) -> Running:
    """The same, forked: what is imported here need not be imported again. Whoever calls kills it and waits for it."""
    pid = os.fork()
    if pid == 0:
        with log.open("a") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            os._exit(main([*arguments, "--port", str(port)]))
    return Running(pid, f"http://127.0.0.1:{port}")


def wait_until_it_works(running: Running, process: subprocess.Popen[bytes] | None = None) -> None:
    """Raises RuntimeError when it takes too long, or the process, where it is given, ends."""
    end = time.monotonic() + PATIENCE_S
    while not running.works():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the station ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"the station did not answer in {PATIENCE_S:g} s")
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
