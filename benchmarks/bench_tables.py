"""The tables through the death of a worker and of the driver, against undisturbed ones: 3 classes, 2 seeds, 2 presets.

    python -m benchmarks.bench_tables --folder FOLDER --name tables_kills

By Ray on this machine, on its CPUs. Everything but times must be equal, maps, poses and models to the bit.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.results_file import save_result
from PAD_utils.files import read_json
from tests.fake_class import NAME, write_fake_class
from tests.test_tables_run import await_, content, jobs_in, parent

_CLASSES = ("A", "B", "C")
_FAST = "--features gradient --retrieval nearest --refiner adam -k 1 --hypotheses 1 --memory_per_job 1".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--gauss_iters", default="10")
    args = parser.parse_args()
    data_path, outputs = args.folder / "classes", [args.folder / name for name in ("undisturbed", "disturbed")]
    for i, name in enumerate(_CLASSES):
        if not (data_path / name).exists():
            write_fake_class(data_path, size=32 + 8 * i, tests=1, per_ring=4)
            (data_path / NAME).rename(data_path / name)
    undisturbed, disturbed = (_command(data_path, output, args.gauss_iters) for output in outputs)
    begin = time.perf_counter()
    subprocess.run(undisturbed, check=True)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    lost = _with_deaths(disturbed, outputs[1])
    figures = {
        "runs": len(_CLASSES) * 2 * 2,
        "equal_to_the_bit": content(outputs[0]) == content(outputs[1]) and _files(outputs[0]) == _files(outputs[1]),
        "files_compared": len(_files(outputs[0])),
        "runs_made_twice_or_cut": lost,
        "seconds_undisturbed": seconds,
        "seconds_disturbed": time.perf_counter() - begin,
        "means": {s["method"]: s["mean"] for s in read_json(outputs[1] / "tables.json")["settings"]},
    }
    print(save_result(args.name, torch.device("cpu"), figures), figures)


def _command(data_path: Path, output: Path, iterations: str) -> list[str]:
    chosen = ["--seeds", "0", "1", "--presets", "fast", "paper", "-gauss_iters", iterations]
    return [sys.executable, "paper_tables.py", "--data_path", str(data_path), "--output", str(output), *chosen, *_FAST]


def _with_deaths(command: list[str], output: Path) -> dict[str, int]:
    """kill -9 of a worker at its first run, of the driver at the fourth finished run, then the same command again;
    how many runs were in flight at each death."""
    driver = subprocess.Popen(command)
    job = await_(lambda: jobs_in(output))[0]
    os.kill(parent(job), signal.SIGKILL)
    await_(lambda: job not in jobs_in(output))
    await_(lambda: len(_done(output)) >= 4)
    in_flight = len(jobs_in(output))
    driver.kill()
    driver.wait()
    await_(lambda: not jobs_in(output))
    done = {path: path.stat().st_mtime_ns for path in _done(output)}
    subprocess.run(command, check=True)
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "a finished run was made again"
    return {"dead worker": 1, "dead driver": in_flight}


def _done(output: Path) -> list[Path]:
    return [path for path in output.glob("jobs/**/job.json") if read_json(path).get("error") is None]


def _files(output: Path) -> dict[str, bytes]:
    """Maps, poses and models."""
    kinds = ("anomaly_maps/*/*.tiff", "poses.json", "point_cloud/*/*.ply")
    return {str(p.relative_to(output)): p.read_bytes() for kind in kinds for p in output.glob(f"jobs/**/{kind}")}


if __name__ == "__main__":
    main()
