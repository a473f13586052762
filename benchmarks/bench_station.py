"""The inspection station under load: latency, clients for minutes, kill -9, photographs a second on a GPU.

    python -m benchmarks.bench_station latency assets/demo 00Demo --prefix demo
    python -m benchmarks.bench_station load    assets/demo 00Demo --prefix demo --seconds 600
    python -m benchmarks.bench_station kill    assets/demo 00Demo --prefix demo --times 200
    python -m benchmarks.bench_station rate    DATA CLASS --clients 32 --seconds 20

The class must be trained. The station is a real one with a store of its own in a temporary folder.
"""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import argparse
import itertools
import os
import random
import signal
import sqlite3
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from benchmarks.results_file import save_result
from benchmarks.station_server import Running, forked, free_port, station, wait_until_it_works
from PAD_utils.run.job import choose_device

_SAMPLE_S = 5.0
_REST_S = 2.0  # before photographs come at a pace: the pictures of the crowd before are still being drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("latency", "load", "kill", "rate"))
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--prefix", default="splatpose")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--paces", type=float, nargs="*", default=[], help="of rate: photographs a second to come")
    parser.add_argument("--name", help="of the result (default: station_<what>)")
    args = parser.parse_args()
    pictures = sorted((args.data_path / args.classname / "test").glob("*/*.png"))
    with tempfile.TemporaryDirectory() as folder:
        given = ["--data_path", str(args.data_path), "-c", args.classname, "-p", args.prefix]
        given += ["--store", f"{folder}/store", "--rate", "10000", "--keep", "500"]
        before = os.getloadavg()[0]
        figures = {"latency": latency, "load": load, "kill": kill, "rate": rate}[args.what](
            given, pictures, args, Path(folder)
        )
    figures["machine_load"] = {"before": before, "after": os.getloadavg()[0]}
    print(save_result(args.name or f"station_{args.what}", choose_device(None), figures), figures)


def latency(given: list[str], pictures: Sequence[Path], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds from sending one photograph to its answer, one client, nothing else waiting."""
    with station(given, folder / "log") as running, httpx.Client(timeout=120) as client:
        seconds = []
        for path in pictures:
            start = time.perf_counter()
            post(client, running, path).raise_for_status()
            seconds.append(time.perf_counter() - start)
    return {"photographs": len(seconds), "seconds": quantiles(seconds)}


def load(given: list[str], pictures: Sequence[Path], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Clients that send one photograph after the other: errors, answers that are not in the database, memory."""
    with station(given, folder / "log") as running:
        samples: list[tuple[float, int]] = []
        crowd = Crowd(running, pictures, args.clients)
        end = time.monotonic() + args.seconds
        while time.monotonic() < end:
            time.sleep(_SAMPLE_S)
            samples.append((running.memory_mb(), running.open_files()))
        crowd.stop()
        tenth = max(1, len(samples) // 10)
        first, last = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
    kept = known_ids(folder / "store")
    return {
        "clients": args.clients,
        "seconds": args.seconds,
        "answers": len(crowd.answered),
        "errors": crowd.errors,
        "answers_not_in_database": len(set(crowd.answered) - kept),
        "latency_seconds": quantiles(crowd.seconds),
        "memory_mb": {"second_tenth": mean(first, 0), "last_tenth": mean(last, 0), "most": max(m for m, _ in samples)},
        "memory_growth": mean(last, 0) / mean(first, 0),
        "open_files": {"second_tenth": mean(first, 1), "last_tenth": mean(last, 1)},
    }


def kill(given: list[str], pictures: Sequence[Path], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """kill -9 at a random moment under load, again and again: answers given and not in the database afterwards."""
    port, random_ = free_port(), random.Random(0)
    answered: list[str] = []
    lost: list[str] = []
    started = []
    for round_ in range(args.times):
        start = time.perf_counter()
        running = forked(given, port, folder / "log")
        wait_until_it_works(running)
        started.append(time.perf_counter() - start)
        with httpx.Client(timeout=60) as client:  # the station that was started again knows every earlier answer
            recent = answered[-20:]
            lost += [id for id in recent if client.get(f"{running.address}/parts/{id}").status_code != 200]
        crowd = Crowd(running, pictures, args.clients)
        time.sleep(random_.uniform(0.1, 5.0))
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
        crowd.stop()
        answered += crowd.answered
        lost += set(crowd.answered) - known_ids(folder / "store")
        if round_ % 20 == 19:
            print(round_ + 1, "kills", len(answered), "answers", len(lost), "lost", quantiles(started), flush=True)
    with sqlite3.connect(folder / "store" / "station.db") as database:
        sound = database.execute("PRAGMA integrity_check").fetchone()[0]
    lost += set(answered) - known_ids(folder / "store")
    return {
        "kills": args.times,
        "answers": len(answered),
        "answers_lost": len(set(lost)),
        "database": sound,
        "seconds_to_restart": quantiles(started),
    }


def rate(given: list[str], pictures: Sequence[Path], args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Photographs a second with many clients, then the latency when they arrive at even distances, half as many and
    `--paces` a second."""
    with station(given, folder / "log") as running:
        Crowd(running, pictures, args.clients).stop(after_s=args.seconds / 2)  # warms up
        crowd = Crowd(running, pictures, args.clients)
        start = time.perf_counter()
        crowd.stop(after_s=args.seconds)
        per_second = len(crowd.answered) / (time.perf_counter() - start)
        errors, paced = dict(crowd.errors), {}
        for pace in (per_second / 2, *args.paces):
            time.sleep(_REST_S)
            some = Crowd(running, pictures, args.clients, pace_s=args.clients / pace)
            some.stop(after_s=args.seconds)
            paced[f"{pace:.1f} a second"], errors = quantiles(some.seconds), {**errors, **some.errors}
        memory = running.memory_mb()
    return {
        "clients": args.clients,
        "photographs_per_second": per_second,
        "latency_seconds_full": quantiles(crowd.seconds),
        "latency_seconds": paced,
        "errors": errors,
        "memory_mb": memory,
        "gpu_memory_free_gb": torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else None,
    }


class Crowd:
    """Clients that send photographs, each the next one when the last is answered, or every `pace_s` seconds."""

    def __init__(self, running: Running, pictures: Sequence[Path], count: int, pace_s: float = 0.0) -> None:
        self.answered: list[str] = []
        self.seconds: list[float] = []
        self.errors: dict[str, int] = {}
        self._running, self._pace_s = running, pace_s
        self._stopping = threading.Event()
        # All are there before the first sends: reading certificates takes each a while, and the others' answers wait.
        certificates = ssl.create_default_context()
        clients = [httpx.Client(timeout=120, verify=certificates) for _ in range(count)]
        start = time.perf_counter()
        self._threads = []
        for i, client in enumerate(clients):
            turn = itertools.islice(itertools.cycle(pictures), i, None)
            self._threads.append(threading.Thread(target=self._work, args=(client, turn, start + pace_s * i / count)))
        for thread in self._threads:
            thread.start()

    def stop(self, after_s: float = 0.0) -> None:
        self._stopping.wait(after_s)
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, client: httpx.Client, pictures: Iterator[Path], due: float) -> None:
        with client:
            for path in pictures:
                if self._stopping.wait(max(0.0, due - time.perf_counter())):
                    return
                start = time.perf_counter()
                due += self._pace_s
                self._once(client, path, start)

    def _once(self, client: httpx.Client, path: Path, start: float) -> None:
        try:
            answer = post(client, self._running, path)
            answer.raise_for_status()
            self.answered.append(answer.json()["id"])
            self.seconds.append(time.perf_counter() - start)
        except (httpx.HTTPError, ValueError) as error:
            kind = f"{type(error).__name__}: {error}"[:80]
            self.errors[kind] = self.errors.get(kind, 0) + 1
            self._stopping.wait(0.05)


def post(client: httpx.Client, running: Running, path: Path) -> httpx.Response:
    return client.post(f"{running.address}/inspect", files={"picture": (path.name, content(path))})


_contents: dict[Path, bytes] = {}


def content(path: Path) -> bytes:
    if path not in _contents:
        _contents[path] = path.read_bytes()
    return _contents[path]


def known_ids(store: Path) -> set[str]:
    """The parts in a database, read as another program would."""
    with sqlite3.connect(store / "station.db") as database:
        return {row[0] for row in database.execute("SELECT id FROM parts")}


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    found = {f"p{q}": float(np.percentile(seconds, q)) for q in (50, 90, 99)} if seconds else {}
    return found | ({"mean": statistics.fmean(seconds), "most": max(seconds)} if seconds else {})


def mean(samples: Sequence[Sequence[float]], index: int) -> float:
    return statistics.fmean(sample[index] for sample in samples)


if __name__ == "__main__":
    main()
