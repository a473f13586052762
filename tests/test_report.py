import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from PAD_utils.report.cards import PICTURE_BUDGET, ReportImage, cards
from PAD_utils.report.charts import ScoreAxis, curve_chart, directions, histogram_chart, nice_ticks
from PAD_utils.report.pictures import Source, encode_all, heat_scale, outline
from PAD_utils.report.report import write_report
from PAD_utils.score.regions import Region

VOID = {"meta", "link", "img", "input", "br"}
UNDEFINED = {
    "image_auroc": None,
    "pixel_auroc": None,
    "aupro": None,
    "undefined": {"image_auroc": "no good image", "pixel_auroc": "no mask <there>", "aupro": "no mask <there>"},
}
MEASURED = {
    "image_auroc": 0.98765,
    "pixel_auroc": 0.5,
    "aupro": None,
    "undefined": {"aupro": "too few regions"},
    "per_defect": {"Burrs": {"image_auroc": 0.75, "pixel_auroc": 0.5, "aupro": None}},
    "curves": {
        "image_roc": {"x": [0.0, 0.0, 1.0], "y": [0.0, 1.0, 1.0]},
        "pixel_roc": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
    },
    "seconds": {"train": 12.34, "retrieve_per_image": 0.01, "refine_per_image": 0.02, "score_per_image": 0.03},
    "n_gaussians": 12345,
    "train_psnr": None,
    "features": "gradient",
}


def make_image(defect: str = "Burrs", name: str = "1", score: float | None = 0.5, **more: object) -> ReportImage:
    rng = np.random.default_rng(len(name))
    query = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    mask = np.zeros((24, 32), bool)
    mask[4:8, 6:12] = defect != "good"
    values = {
        "label": int(defect != "good"),
        "decision": "DEFECT" if score is not None and score > 0.4 else "OK",
        "query": query,
        "rendering": query[:, ::-1].copy(),
        "anomaly_map": mask.astype(np.float32),
        "mask": mask,
        "pose": np.array([[1.0, 0, 0, 0], [0, 1, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]]),
        "regions": [Region(6, 4, 6, 4, 24, 1.0)] if defect != "good" else [],
    }
    return ReportImage(defect, name, score=score, **{**values, **more})  # type: ignore[arg-type]


class _Balance(HTMLParser):
    """Collects tags that are closed in another order than they are opened, and all attributes that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.wrong: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)


def _write(tmp_path: Path, images: list[ReportImage], metrics: dict, threshold: float | None = 0.4) -> str:
    path = tmp_path / "report.html"
    run = {"end": "2026-05-04T03:02:01+00:00", "device": "cpu", "configuration": {"seed": 0}}
    write_report(path, "A & <B>", metrics, run, images, threshold, [np.eye(4) + 1])
    return path.read_text("utf-8")


def test_the_page_is_well_formed_and_loads_nothing(tmp_path: Path) -> None:
    page = _write(tmp_path, [make_image(), make_image("good", "2", 0.1), make_image(name="3", score=0.2)], MEASURED)
    parser = _Balance()
    parser.feed(page)
    assert not parser.wrong and not parser.stack
    assert len(parser.loaded) > 9 and all(value.startswith("data:image/") for value in parser.loaded)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src 'none'" in page


def test_metrics_and_warnings_are_there(tmp_path: Path) -> None:
    images = [make_image(), make_image("good", "2", 0.1), make_image(name="3", score=0.2)]
    warned = {**MEASURED, "warnings": ["features fell back to gradient"]}
    page = _write(tmp_path, images, warned)
    assert "98.77" in page and "50.00" in page and "too few regions" in page
    assert re.search(r'class="warnings" role="alert">.*features fell back to gradient', page, re.DOTALL)
    assert "12.3 <small>s" in page and "60 <small>ms" in page and "12 345" in page and "4 May 2026, 03:02 UTC" in page
    assert "<b>1</b> of 2 defective missed" in page and "<b>0</b> of 1 good called defective" in page
    assert 'class="warnings"' not in _write(tmp_path, images, MEASURED)


def test_undefined_metrics_show_their_reason(tmp_path: Path) -> None:
    page = _write(tmp_path, [make_image()], UNDEFINED)
    assert "no good image" in page and "no mask &lt;there&gt;" in page


def test_inspection_without_labels_has_no_metrics(tmp_path: Path) -> None:
    images = [
        make_image("images", n, s, label=None, mask=None, decision=d)
        for n, s, d in (("a", 0.1, "OK"), ("b", 2.0, None))
    ]
    page = _write(tmp_path, images, {**UNDEFINED, "undefined": dict.fromkeys(UNDEFINED, "no ground truth")})
    assert "AUROC" not in page.split('class="details"')[0] and "ground truth</em>" not in page
    assert "not localized, then highest score" in page and "have no labels" in page


@pytest.mark.parametrize(
    "nasty", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a'b{{7*7}}"]
)
def test_names_are_escaped(tmp_path: Path, nasty: str) -> None:
    image = make_image(nasty, nasty, decision="OK")
    metrics = {**MEASURED, "warnings": [nasty], "features": nasty}
    page = _write(tmp_path, [image], metrics)
    assert nasty not in page or "<" not in nasty
    assert "alert(1)>" not in page and "<script>alert" not in page and "a&#39;b49" not in page


def test_images_with_holes_in_what_is_known(tmp_path: Path) -> None:
    images = [
        make_image(name="bare", score=None, decision=None, rendering=None, anomaly_map=None, mask=None, pose=None),
        make_image(name="nan", score=float("nan"), decision="NOT LOCALISED"),
        make_image("good", "fine", 0.1),
    ]
    page = _write(tmp_path, images, {}, threshold=None)
    assert page.count("no score") == 2 and "no ground truth" in page and "not measured" in page
    assert "NaN" not in page and "nan%" not in page


def test_a_run_without_images(tmp_path: Path) -> None:
    assert "<h1>A &amp; &lt;B&gt;</h1>" in _write(tmp_path, [], UNDEFINED, None)


def test_the_worst_image_comes_first() -> None:
    images = [
        make_image("good", "clear", 0.05),
        make_image("Burrs", "clear", 0.9),
        make_image("Burrs", "missed", 0.1),
        make_image("good", "false alarm", 0.5),
        make_image("Burrs", "lost", 0.9, decision="NOT LOCALISED"),
    ]
    found = cards(images, 0.4)
    assert [card["image"].name for card in found] == ["lost", "missed", "false alarm", "clear", "clear"]
    assert [card["mistake"] for card in found] == [None, "missed", "false alarm", None, None]
    assert found[0]["id"] == 4 and found[0]["regions"] == [{"x": 6, "y": 4, "w": 6, "h": 4, "area": 24, "peak": "1"}]
    assert found[0]["pose"] == "Seen from 5.00 units away, 53° above the horizon, at azimuth 90°"
    unlabeled = cards([replace(image, label=None, decision=None) for image in images], None)
    assert unlabeled[0]["image"].score == 0.9


def test_a_large_run_stays_below_15_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PAD_utils.report.cards.PICTURE_BUDGET", PICTURE_BUDGET // 5)  # 60 images stand for 300
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 800, dtype=np.float32)
    images = []
    for i in range(60):
        if i < 3:  # noise on everything: larger in JPEG than any photograph of a part
            query = rng.integers(0, 255, (800, 800, 3), dtype=np.uint8)
            heat = np.outer(ramp, ramp) * rng.random((800, 800), dtype=np.float32)
            mask = np.outer(ramp, ramp) > 0.7
        images.append(make_image(name=str(i), query=query, rendering=query, anomaly_map=heat, mask=mask))
    write_report(tmp_path / "report.html", "large", MEASURED, {}, images, 0.4)
    size = (tmp_path / "report.html").stat().st_size
    assert 1_000_000 < size < 15_000_000 / 5


def test_small_pictures_keep_their_size_and_large_ones_share_one() -> None:
    small = Source(np.zeros((20, 30, 3), np.uint8), None, None)
    large = Source(np.zeros((400, 800, 3), np.uint8), None, np.zeros((400, 800), np.float32))
    assert _size(encode_all([small], None, PICTURE_BUDGET)[0].query) == (20, 30)
    assert _size(encode_all([large], None, PICTURE_BUDGET)[0].query) == (400, 800)
    encoded = encode_all([large], None, 3000)[0]
    assert _size(encoded.query) == _size(encoded.heat) and _size(encoded.query)[1] < 800
    assert encoded.rendering is None and encode_all([], None, 1) == []


def _decoded(uri: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)


def _size(uri: str | None) -> tuple[int, ...]:
    return _decoded(uri or "").shape[:2]


def test_photographs_keep_their_colors() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    bgr = _decoded(encode_all([Source(red, None, None)], None, PICTURE_BUDGET)[0].query)
    assert abs(bgr[8, 8].astype(int) - (0, 0, 200)).max() < 6


def test_noise_does_not_glow() -> None:
    maps = [np.full((8, 8), 0.1, np.float32), np.full((8, 8), 0.2, np.float32)]
    assert heat_scale(maps, None) == pytest.approx((0.15, 0.25))  # the highest score is half way up
    assert heat_scale(maps, 0.9) == pytest.approx((0.15, 0.9))
    low, high = heat_scale([np.zeros((4, 4), np.float32)], None)
    assert high > low
    assert heat_scale([], None) == (0.0, 1.0)


def test_outlines() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2, 3] = True
    numbers = [float(v) for v in re.findall(r"[\d.]+", outline(mask))]
    assert min(numbers[::2]) >= 3 and max(numbers[::2]) <= 4 and min(numbers[1::2]) >= 2 and max(numbers[1::2]) <= 3
    mask[4:9, 4:10] = True
    mask[6, 6] = False
    assert outline(mask).count("Z") == 3  # the pixel, the block and its hole
    assert outline(np.zeros((3, 3), bool)) == ""
    speckles = np.random.default_rng(0).random((301, 399)) < 0.1
    assert 0 < len(outline(speckles)) <= 6000


def test_axes() -> None:
    assert nice_ticks(0.0, 1.0, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.007, 0.0101, 5) == [0.007, 0.008, 0.009, 0.01]
    assert nice_ticks(3.0, 3.0, 5) == [3]
    flat, heavy = ScoreAxis.of([1.0, 2.0, 3.0], 2.5), ScoreAxis.of([0.01, 0.02, 5.0], 0.03)
    assert not flat.log and heavy.log
    assert heavy.share(heavy.score(0.3)) == pytest.approx(0.3) and heavy.ticks() == [0.01, 0.1, 1.0]
    assert flat.share(2.0) == pytest.approx(0.5) and ScoreAxis.of([], None) == ScoreAxis(0.0, 1.0, False)
    assert ScoreAxis.of([2.0, 2.0], None).share(2.0) == 0.5
    assert not ScoreAxis.of([-1.0, 0.0, 50.0], None).log


def test_histogram_counts_every_score() -> None:
    chart = histogram_chart([("ok", "good", [0.0, 0.1, 0.1]), ("defect", "defective", [0.1, 9.0])], 1.0)
    assert chart is not None and chart.threshold is not None
    assert sum(int(bar.title.split()[0]) for bar in chart.bars) == 5
    assert all(54 <= bar.x <= 406 and bar.height > 0 for bar in chart.bars)
    assert histogram_chart([("", "", [])], None) is None


def test_curves_end_in_the_corners() -> None:
    curve = {"x": [0.0, 0.3], "y": [0.0, 1.0]}
    chart = curve_chart([("a", "images", "50 %", curve)], "x", "y", 0.3, (0.15, 0.5, "here"))
    assert chart.lines[0].path == "M54.0 248.0L406.0 14.0" and chart.x_ticks[-1][1] == "0.3"
    assert chart.point == (230.0, 131.0, "here")


def test_directions_from_the_origin() -> None:
    pose = np.eye(4)
    pose[:3, 3] = (0, 0, 5)
    assert directions([pose, None, np.eye(4), pose * np.nan]) == [[0.0, 0.0, 1.0], None, None, None]


def test_no_bar_reaches_the_name_of_the_threshold() -> None:
    chart = histogram_chart([("ok", "good", [0.5] * 9 + [0.9])], 0.5)
    assert chart is not None and min(bar.y for bar in chart.bars) > 34  # its text ends at 28, with a descent of 5


def test_mistakes_are_explained_on_their_cards(tmp_path: Path) -> None:
    images = [make_image(), make_image("good", "2", 0.1), make_image(name="3", score=0.2)]
    page = _write(tmp_path, images, {**MEASURED, "decision": {"false_alarm_rate": 0.01}})
    said = "Score 0.2 is 0.2 below the threshold 0.4; the highest spot lies on the marked defect."
    assert f'<p class="why">{said}</p>' in page and page.count('<p class="why">') == 2  # the other: of the viewer
    assert "too few pictures to judge the promised 1 %" in page
