"""A share of the campaigns in benchmarks/faults: 3 of 1,000 kills, 3 of 200 places where memory or disk ends.

In a process of its own: it makes copies of itself, and other tests have started threads.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="copies of processes are watched through Linux' pidfd")


@ONLY_LINUX
@pytest.mark.parametrize(("campaign", "count"), [("kills", 3), ("places", 3)])
def test_a_share_of_the_campaign_finds_nothing(campaign: str, count: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.faults", campaign, "--count", str(count), "--json"]
    figures = tmp_path / "figures.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, str(figures)], cwd=ROOT, env=environment, capture_output=True, text=True)
    found = json.loads(figures.read_text()) if figures.exists() else {}
    assert result.returncode == 0, found.get("failed") or result.stderr[-2000:]
