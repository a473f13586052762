"""The pose benchmark as a user runs it, from subset to table."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from PAD_utils.report.pose_plot import recall_plot
from prepare_subset_lego_ad import main as prepare_subset
from train_and_pose_est import main

QUICK = ["-c", "00Fake", "-gauss_iters", "60", "-k", "3", "--hypotheses", "2"]


def test_subset_to_table(fake_mad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "subsets"
    subset = ["-c", "00Fake", "--data_path", str(fake_mad), "--out", str(out), "--task", "pose", "--share", "0.8"]
    assert prepare_subset([*subset, "--seed", "0"]) == 0
    data_path = out / "0.8_0" / "pose"
    pairs = ["--combinations", "nearest+adam", "bank+gauss-newton"]
    assert main([*QUICK, "-data_path", str(data_path), *pairs]) == 0
    folder = data_path / "results_splatpose_0" / "00Fake"
    results = json.loads((folder / "pose_benchmark.json").read_text())["results"]
    assert [result["combination"] for result in results] == ["nearest+adam", "bank+gauss-newton"]
    for result in results:
        for stage in ("coarse", "fine"):
            assert {"rotation_deg", "translation", "auc_deg", "recall"} <= set(result[stage])
            assert {"mean", "median", "std"} <= set(result[stage]["rotation_deg"])
        assert result["seconds_retrieve"] > 0 and result["seconds_refine"] > 0
    assert "nearest+adam" in capsys.readouterr().out
    ElementTree.parse(folder / "pose_benchmark.svg")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--combinations", "bank+magic"], "bank+magic"), ([], "prepare_subset_lego_ad.py")],
)
def test_errors_are_one_line(
    fake_mad: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    for path in (fake_mad / "00Fake").glob("transforms_test.json"):
        path.unlink()
    assert main([*QUICK, "-data_path", str(fake_mad), *arguments]) == 2
    assert named in capsys.readouterr().err


def test_recall_plot_reaches_its_shares() -> None:
    """Half of two errors lie within 1 degree: the curve is at half height there and at the top after the second."""
    text = recall_plot("<a> & b", {"x": [1.0, 10.0]})
    path = next(
        e.get("d")
        for e in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}path")
        if e.get("fill") == "none"
    )
    heights = [float(part.split("H")[0]) for part in str(path).split("V")[1:]]
    assert heights == [pytest.approx((352 + 40) / 2), pytest.approx(40)]
