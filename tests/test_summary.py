"""The last words of a run."""

from pathlib import Path
from typing import Any

from PAD_utils.run.summary import Decided, count_decisions, summary

METRICS: dict[str, Any] = {
    **{"image_auroc": 0.9907, "pixel_auroc": 0.5, "aupro": None, "undefined": {"aupro": "no mask"}},
    **{"n_gaussians": 7832, "features": "gradient"},
    "decision": {"threshold": 20.54, "false_alarm_rate": 0.01, "asked_rate": 0.01, "views": 120},
    "seconds": {"train": 41.04, "retrieve_per_image": 0.1, "refine_per_image": 0.2, "score_per_image": 0.1},
}
REPORT = Path("results") / "report.html"


def test_a_test_run_ends_with_its_mistakes() -> None:
    pictures = [
        *(Decided(f"Burrs/{i}", 1, "OK" if i in (5, 7) else "DEFECT") for i in range(18)),
        *(Decided(f"good/{i}", 0, "DEFECT" if i == 2 else "OK") for i in range(6)),
        Decided("good/6", 0, "NOT LOCALISED"),
    ]
    assert summary("00Demo", METRICS, pictures, REPORT).splitlines() == [
        "00Demo, 25 pictures",
        "  training 41.0 s, 400 ms per picture, 7832 Gaussians, features gradient",
        "  image AUROC 99.07 %, pixel AUROC 50.00 %, AUPRO undefined (no mask)",
        "  threshold 20.5, chosen for 1 % false alarms from 120 good views",
        "  2 of 18 defective missed (95 % interval 1 to 35 %): Burrs/5, Burrs/7",
        "  1 of 6 good called DEFECT (95 % interval 0 to 64 %: too few pictures to judge the promised 1 %): good/2",
        "  1 of 25 NOT LOCALISED: good/6",
        f"report: {REPORT}",
    ]


def test_a_rate_that_cannot_be_promised_is_named() -> None:
    decision = {**METRICS["decision"], "false_alarm_rate": 1 / 36, "views": 35}
    text = summary("00Demo", {**METRICS, "decision": decision}, [Decided("good/2", 0, "OK")], REPORT)
    assert "chosen for 2.78 % false alarms from 35 good views, too few to promise 1 %\n" in text
    assert "too few pictures to judge the promised 2.78 %" in text


def test_an_inspection_ends_with_its_decisions() -> None:
    pictures = [Decided(str(i), None, "DEFECT") for i in range(12)] + [Decided("fine", None, "OK")]
    lines = summary("00Demo", METRICS, pictures, REPORT).splitlines()
    assert lines[3:] == [
        "  12 DEFECT, 1 OK, 0 NOT LOCALISED",
        "  DEFECT: 0, 1, 2, 3, 4, 5, 6, 7 and 4 more",
        "  OK: fine",
        f"report: {REPORT}",
    ]
    assert not any("AUROC" in line for line in lines)


def test_no_threshold_is_no_decision() -> None:
    pictures = [Decided("a", None, None), Decided("b", None, "NOT LOCALISED")]
    assert count_decisions(pictures) == {"DEFECT": 0, "OK": 0, "NOT LOCALISED": 1, "undecided": 1}
    text = summary("00Demo", {**METRICS, "decision": None}, pictures, REPORT)
    assert "no threshold, so no decisions" in text and "undecided: a" in text and "NOT LOCALISED: b" in text
