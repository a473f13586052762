import re
from pathlib import Path

import numpy as np
import pytest

from PAD_utils.report.cards import ReportImage
from PAD_utils.report.rate import Rates
from PAD_utils.report.report import Whole, write_report
from PAD_utils.score.calibration import calibrate
from PAD_utils.score.regions import Region
from tests.browser import NEEDS_BROWSER, use_page

TITLE = "Dog & <b>Co</b>"
SIZES = {"desktop": (1300, 900), "phone": (390, 844)}

pytestmark = NEEDS_BROWSER


def _images() -> list[ReportImage]:
    """Twelve pictures: good, defective, one missed, a false alarm, a lost one and a name that needs escaping."""
    rng = np.random.default_rng(0)
    images = []
    for i in range(12):
        defect, name = ("good", "Burrs", "Stains")[i % 3], f"{i} <i>'\"&" if i == 5 else str(i)
        mask = np.zeros((48, 64), bool)
        mask[10:20, 20:34] = defect != "good"
        query = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        score = float({0: 0.9, 1: 0.1}.get(i, 0.2 if defect == "good" else 0.6 + i / 100))
        decision = "NOT LOCALISED" if i == 11 else "DEFECT" if score > 0.5 else "OK"
        regions = [Region(20, 10, 14, 10, 140, 1.0), Region(1, 2, 3, 4, 9, 0.6)] if decision == "DEFECT" else []
        pose = np.eye(4)
        pose[:3, 3] = rng.normal(size=3)
        heat = mask + rng.random((48, 64), dtype=np.float32) / 9
        label = int(defect != "good")
        images.append(
            ReportImage(defect, name, label, score, decision, query, query[::-1].copy(), heat, mask, pose, regions)
        )
    return images


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What a script saw that used the report in Chromium at the width of a desktop and of a phone."""
    folder = tmp_path_factory.mktemp("browser")
    curve = {"x": [0.0, 0.1, 1.0], "y": [0.0, 0.9, 1.0]}
    metrics = {
        **{"image_auroc": 0.9, "pixel_auroc": 0.9, "aupro": 0.8, "warnings": ["a long_warning_" + "x" * 200]},
        **{"curves": {"image_roc": curve, "pixel_roc": curve, "pro": curve}, "n_gaussians": 10},
    }
    gallery = [np.eye(4) + i for i in range(1, 8)]
    run = {"end": "2026-05-04T03:02:01+00:00", "configuration": {"data_path": "/a/very/long/path" * 20}}
    rates = Rates([0.01, 0.05, 0.5], [0.5, 0.65, 0.05], 0, 0.05)
    write_report(folder / "report.html", TITLE, metrics, run, _images(), 0.5, gallery, Whole(rates=rates))
    check = (Path(__file__).parent / "report_browser_check.js").read_text("utf-8")
    results = use_page(folder / "report.html", check, list(SIZES.values()))
    by_width = {result["width"]: result for result in results}
    return {name: by_width[width] for name, (width, _) in SIZES.items()}


@pytest.fixture(params=SIZES)
def result(request: pytest.FixtureRequest, seen: dict[str, dict]) -> dict:
    return seen[request.param]


def test_nothing_fails_and_nothing_is_fetched(result: dict) -> None:
    assert result["errors"] == [] and "failed" not in result
    assert result["fetched"] == []
    assert result["title"] == TITLE


def test_all_pictures_decode(result: dict) -> None:
    assert result["pictures"] == {"count": 48, "broken": []}  # photograph, twice, rendering and heat map of 12


def test_the_page_fits_its_window(result: dict) -> None:
    assert result["overflow"] <= 0
    assert result["viewer"]["overflow"] <= 0 and result["viewer"]["inside"]


def test_filters_and_orders(result: dict) -> None:
    assert result["all"][0] == "Stains/11" and len(result["all"]) == 12
    assert result["mistakes"] == ["good/0", "Burrs/1"] or result["mistakes"] == ["Burrs/1", "good/0"]
    assert set(result["ok"]) == {"good/3", "good/6", "good/9", "Burrs/1"}
    assert set(result["good"]) == {"good/0", "good/3", "good/6", "good/9"}
    scores = [float(score) for score in result["byScore"]]
    assert scores == sorted(scores, reverse=True)
    assert result["byName"][:5] == ["Burrs/1", "Burrs/4", "Burrs/7", "Burrs/10", "good/0"]
    assert "Stains/5 <i>'\"&" in result["byName"]


def test_a_click_enlarges(result: dict) -> None:
    viewer = result["viewer"]
    assert viewer["open"] and viewer["name"] == result["all"][0] and viewer["larger"] > 1.5
    assert "No pose that can be trusted" in viewer["why"]
    assert viewer["pictures"] == {"count": 3, "broken": []} and float(viewer["heat"]) == 1
    assert result["difference"] == "difference" and result["rendering"]
    assert result["next"] == result["all"][1] and result["last"] == result["all"][-1]
    assert result["zoomed"] and result["closed"]


def test_the_globe_turns_and_opens_pictures(result: dict) -> None:
    assert result["globe"] == {"dots": 12, "training": 7, "turned": True, "opens": True}


def test_there_is_a_light_and_a_dark_theme(result: dict) -> None:
    light_or_dark = [sum(map(int, re.findall(r"\d+", color))) for color in result["themes"]]
    assert abs(light_or_dark[0] - light_or_dark[1]) > 300


def test_another_rate_decides_all_pictures_anew(result: dict) -> None:
    slider = result["rate"]
    run, most, least = (slider[name] for name in ("run", "most", "least"))
    assert slider["focused"] and slider["label"] == "Rate of false alarms" and "5 %: the least" in slider["ends"]
    assert (run["rate"], run["threshold"], run["asRun"]) == ("1 %", "0.5", True)
    assert (most["rate"], most["threshold"], most["asRun"]) == ("50 %", "0.05", False)
    assert most["spoken"] == "50 %, threshold 0.05"
    assert set(most["cards"].values()) == {"DEFECT", "NOT LOCALISED"} and most["counts"]["defect"] == "11"
    assert most["counts"]["misses"] == "0 of 7 defective missed"
    assert most["counts"]["alarms"] == "4 of 4 good called defective"
    assert most["mistakes"] == ["false alarm"] * 4 and most["chip"] == "Mistakes 4"
    assert most["kinds"][0] == "4 DEFECT" and float(most["line"]) < float(run["line"])
    assert slider["enlarged"].startswith("DEFECTfalse alarm")
    assert run["mistakes"] == ["false alarm", "missed"] and "95 % interval" in run["counts"]["misses"]
    assert slider["again"] == {**run, "spoken": "1 %, threshold 0.5"}
    assert least == slider["again"]


def test_the_slider_of_a_calibration_ends_at_the_attainable_rate() -> None:
    scores = np.random.default_rng(0).normal(10, 1, 49)
    calibration = calibrate(scores, 0.1, logarithms=True)
    rates = Rates.of(calibration, lambda rate: calibrate(scores, rate, logarithms=True))
    assert rates.rates[0] == rates.attainable == 0.02 and rates.rates[-1] == 0.5
    assert rates.thresholds == sorted(rates.thresholds, reverse=True)
    assert (rates.rates[rates.chosen], rates.thresholds[rates.chosen]) == (0.1, calibration.threshold)
    for rate, threshold in zip(rates.rates, rates.thresholds, strict=True):
        assert abs((scores > threshold).mean() - rate) < 0.1
    strict = Rates.of(calibrate(scores, 0.001, logarithms=True), lambda rate: calibrate(scores, rate, logarithms=True))
    assert strict.rates[0] == strict.attainable == 0.02 and strict.chosen == 0
