"""Benchmark results: JSON with the machine, the versions and the commit they were obtained on."""

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from PAD_utils.run.job import device_name, git_commit

RESULTS = Path(__file__).parent / "results"


def save_result(name: str, device: torch.device, figures: dict[str, Any]) -> Path:
    """Writes benchmarks/results/<name>.json and returns its path."""
    content = {
        "benchmark": name,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {"device": device_name(device), "cores": len(os.sched_getaffinity(0)), "system": platform.system()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": git_commit(),
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return path
