"""Several photographs of one part: evidence on the model, thresholds of parts, and what a run says of parts."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from PAD_utils.evaluate.parts import PartRow, write_parts
from PAD_utils.report.report import worst_parts
from PAD_utils.score.parts import Evidence, GoodParts, evidence, together
from tests.fake_class import NAME
from tests.test_photographs import command, inspection
from tests.toy_scene import ball, cameras
from train_and_render import main

CELLS = 300


def drawn(rng: np.random.Generator, count: int, defect: float = 0.0) -> tuple[Evidence, list[float]]:
    """Photographs that each see half of the cells: what is usual there, noise, and a defect on the cell 7; and their
    scores, the highest of a cell and something from beside the model."""
    base = np.random.default_rng(0).normal(3, 0.4, CELLS)
    means = base + rng.normal(0, 0.6, (count, CELLS))
    pixels = rng.integers(0, 2, (count, CELLS)) * 20.0
    means[:, 7] += defect
    pixels[:, 7] = 20
    scores = np.maximum((means * (pixels > 0)).max(1), rng.normal(6, 0.7, count))
    found = (torch.tensor(x.clip(0), dtype=torch.float16) for x in (means, pixels))
    return Evidence(*found), scores.tolist()


def good_parts(seen: int = 210, held_out: int = 30, seed: int = 1) -> GoodParts:
    places, scores = drawn(np.random.default_rng(seed), seen + held_out)
    return GoodParts(places, scores[:seen], scores[seen:], 1.0)


def test_a_map_on_the_cells_is_its_mean_over_the_pixels_that_show_them() -> None:
    model, views = ball(60), cameras(2, 24)
    cells = torch.arange(60)
    constant = evidence(model, cells, views, list(torch.full((2, 48, 48), 3.0)))  # maps twice as large as the cameras
    seen = constant.pixels > 0.01
    assert constant.means.shape == (2, 60) and int(seen[0].sum()) > 20
    torch.testing.assert_close(constant.means[seen], torch.full_like(constant.means[seen], 3.0), rtol=0.01, atol=0)
    half = torch.zeros(2, 48, 48)
    half[:, :, 24:] = 3
    found = evidence(model, cells, views, list(half))
    torch.testing.assert_close(found.pixels, constant.pixels)
    assert 0 < int((found.means[0] > 2.9).sum()) < 60 and 0 < int((found.means[0] < 0.1).sum()) < 60


def test_what_several_photographs_show_of_one_place_counts_together() -> None:
    once, pixels = torch.tensor([[0.0, 4.0, 0.0, 0.0]]), torch.full((1, 4), 20.0)
    assert float(together(once, pixels)) == pytest.approx(4)
    means, seen = once.repeat(3, 1), pixels.repeat(3, 1)
    assert float(together(means, seen)) == pytest.approx(4 * 3**0.5)
    assert float(together(means, seen * torch.tensor([[1.0], [0.0], [0.0]]))) == pytest.approx(4)
    denied = means * torch.tensor([[1.0], [0.0], [0.0]])  # two photographs see the place and find nothing
    assert float(together(denied, seen)) == pytest.approx(4 / 3**0.5)
    both = together(torch.stack((means, denied)), torch.stack((seen, seen)))
    assert both.tolist() == pytest.approx([4 * 3**0.5, 4 / 3**0.5])


def test_good_parts_are_called_defective_as_rarely_as_promised_and_weak_defects_are_found() -> None:
    """On average over classes: what one class promises varies with its good views."""
    classes, parts, rng = 12, 60, np.random.default_rng(2)
    alarms, missed, missed_alone = 0, 0, 0
    for seed in range(classes):
        good = good_parts(seed=10 + seed)
        limit = good.calibration(3, 0.05).threshold
        alone = float(np.quantile(good.seen + good.held_out, 0.95))
        for _ in range(parts):
            alarms += good.score(*drawn(rng, 3)) > limit
            places, scores = drawn(rng, 3, defect=3.5)
            missed += good.score(places, scores) <= limit
            missed_alone += scores[0] <= alone
    count = classes * parts
    assert alarms / count < 1.3 * 0.05
    assert missed_alone / count > 0.2 and missed < missed_alone / 3


def test_thresholds_follow_the_rate_and_need_enough_good_views() -> None:
    good = good_parts()
    limits = [good.calibration(3, rate).threshold for rate in (0.2, 0.05, 0.01)]
    assert limits == sorted(limits)
    assert good.calibration(3, 0.05).attainable_rate == 1 / 81 and good.calibration(2, 0.05).photographs == 2
    with pytest.raises(ValueError, match="fewer than 5 parts of 70 photographs"):
        good.calibration(70, 0.05)


def test_parts_in_a_run(trained: Path) -> None:
    source, photos = trained / NAME / "test", trained / "photos"
    for part, names in {"a": ("good/0", "good/1"), "b": ("Missing/0", "Missing/1"), "c": ("good/2",)}.items():
        (photos / part).mkdir(parents=True)
        for number, name in enumerate(names):
            shutil.copy(source / f"{name}.png", photos / part / f"{number}.png")
    shutil.copy(source / "Stains" / "0.png", photos / "alone.png")
    assert main(command(trained, photos)) == 0
    folder = inspection(trained, "photos")
    rows = {row["part"]: row for row in csv.DictReader((folder / "parts.csv").open())}
    assert list(rows) == ["a", "b", "c"]
    pictures = {f"{r['defect']}/{r['name']}": r for r in csv.DictReader((folder / "images.csv").open())}
    assert set(pictures) == {"images/alone", "a/0", "a/1", "b/0", "b/1", "c/0"}
    for part, row in rows.items():
        members = [r for name, r in pictures.items() if name.startswith(f"{part}/")]
        localized = [r for r in members if r["decision"] != "NOT LOCALISED"]
        assert (int(row["photographs"]), int(row["localized"])) == (len(members), len(localized))
        if not localized:
            assert (row["decision"], row["score"]) == ("NOT LOCALISED", "")
        elif len(localized) == 1:
            assert (row["decision"], row["score"]) == (localized[0]["decision"], localized[0]["score"])
        else:
            assert row["decision"] == ("DEFECT" if float(row["score"]) > float(row["threshold"]) else "OK")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["parts"]["n"] == 3 and sum(metrics["parts"]["decisions"].values()) == 3
    page = (folder / "report.html").read_text()
    assert 'id="parts"' in page and (folder / "anomaly_maps" / "b" / "1.tiff").exists()
    shutil.rmtree(photos / "a"), shutil.rmtree(photos / "b"), shutil.rmtree(photos / "c")
    assert main(command(trained, photos)) == 0
    assert not (folder / "parts.csv").exists() and 'id="parts"' not in (folder / "report.html").read_text()


def test_the_report_lists_the_parts_that_need_a_look_first(tmp_path: Path) -> None:
    parts = [
        PartRow("fine", 3, 3, 1.0, 4.0, "OK"),
        PartRow("lost", 3, 0, None, None, "NOT LOCALISED"),
        PartRow("bad", 3, 3, 5.0, 4.0, "DEFECT"),
        PartRow("worse", 3, 2, 9.0, 4.0, "DEFECT"),
        PartRow("near", 3, 3, 3.9, 4.0, "OK"),
    ]
    assert [row["part"].part for row in worst_parts(parts)] == ["worse", "bad", "lost", "near", "fine"]
    write_parts(tmp_path / "parts.csv", parts)
    lines = (tmp_path / "parts.csv").read_text().splitlines()
    assert lines[0] == "part,photographs,localized,score,threshold,decision" and lines[2] == "lost,3,0,,,NOT LOCALISED"
