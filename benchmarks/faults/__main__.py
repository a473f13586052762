"""Campaigns of faults; each writes its figures to benchmarks/results/faults_<name>.json.

python -m benchmarks.faults kills --count 1000
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

CAMPAIGNS = {"kills": 1000, "inputs": 10_000, "places": 200, "soak": 50_000}


def main() -> int:
    """Runs one campaign; returns 1 when something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--count", type=int, help=f"how many trials, cases, points or pictures (default: {CAMPAIGNS})")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a copy of a process has none of its threads
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"faults-{arguments.campaign}-") as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        module = importlib.import_module(f"benchmarks.faults.{arguments.campaign}")
        figures = module.campaign(arguments.count or CAMPAIGNS[arguments.campaign], arguments.seed, Path(folder))
    figures = {"seed": arguments.seed, "seconds": time.monotonic() - start, **figures}
    from benchmarks.results_file import save_result

    path = save_result(f"faults_{arguments.campaign}", torch.device("cpu"), figures)
    print(json.dumps(figures, indent=2))
    print(f"written to {path}")
    return int(figures["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
