"""RAD's harness calls the main job with two folders and its own prefix, through an absolute path, from the checkout."""

import json
import subprocess
import sys
from pathlib import Path

from tests.fake_class import NAME
from tests.test_layouts import as_rad

ROOT = Path(__file__).parent.parent
QUICK = "--features gradient --retrieval nearest --refiner adam -k 1 --hypotheses 1 -gauss_iters 20".split()


def test_the_call_of_the_harness_is_understood(fake_mad: Path, tmp_path: Path) -> None:
    """Training views are links in a prepared folder; test pictures stay in the archive, which is only read."""
    prepared, archive = tmp_path / "prepared", fake_mad
    as_rad(archive, prepared)
    before = sorted(archive.rglob("*"))
    call = [sys.executable, str(ROOT / "train_and_render.py"), "-c", NAME, "-data_path", str(prepared)]
    call += ["-rad_data_path", str(archive), "-p", "rad"]
    subprocess.run([*call, *QUICK], cwd=ROOT, check=True, capture_output=True)
    folder = prepared / "results_rad_0" / NAME
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n_test"] == 12 and metrics["image_auroc"] is not None and metrics["aupro"] is not None
    assert sorted(archive.rglob("*")) == before
