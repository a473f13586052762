"""Campaigns of faults; each writes its figures to benchmarks/results/faults_<name>.json.

python -m benchmarks.faults kills --count 1000 --workers 8
python -m benchmarks.faults kills --first 271 --count 1      # trial 271 again
"""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.faults.workers import run_shared, stop_after
from benchmarks.results_file import save_result

CAMPAIGNS = {"kills": 1000, "inputs": 10_000, "places": 200, "gpu": 100, "scenes": 2000, "soak": 2500}


def main() -> int:
    """Runs one campaign; returns 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--count", type=int, help=f"how many trials (default: {CAMPAIGNS})")
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    parser.add_argument("--seed", type=int, default=0, help="trials of one seed and number are the same")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the trials")
    parser.add_argument("--minutes", type=float, help="ends then, with what was done by that time")
    parser.add_argument("--json", type=Path, help="writes the figures there, not to benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a copy of a process has none of its threads
    start = time.monotonic()
    stop_after(arguments.minutes)
    numbers = range(arguments.first, arguments.first + (arguments.count or CAMPAIGNS[arguments.campaign]))
    with tempfile.TemporaryDirectory(prefix=f"faults-{arguments.campaign}-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        module = importlib.import_module(f"benchmarks.faults.{arguments.campaign}")
        trials = module.prepare(arguments.seed, Path(folder))
        figures = run_shared(trials, numbers, arguments.workers, Path(folder))
    figures = {"seed": arguments.seed, "seconds": time.monotonic() - start, **figures}
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    else:
        print(f"written to {save_result(f'faults_{arguments.campaign}', torch.device('cpu'), figures)}")
    return int(figures["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
