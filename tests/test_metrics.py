import json
import time

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from PAD_utils.evaluate.metrics import Metric, aupro, evaluate, image_auroc, pixel_auroc
from PAD_utils.evaluate.ranking import area_under
from tests.reference_aupro import aupro_by_thresholds, auroc_by_pairs


def _blobs(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for _ in range(count):
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(1, 6, 2)
        mask[y : y + h, x : x + w] = True
    return mask


def _scores_of_kind(rng: np.random.Generator, kind: str, mask: np.ndarray) -> np.ndarray:
    """Score maps of the shapes that break histograms: ties, heavy tails, nearly all at zero, tiny differences."""
    noise = rng.gamma(0.5, 1.0, mask.shape) + mask * rng.gamma(1.0, 1.0, mask.shape)
    if kind == "ties":
        return np.round(noise * 3).astype(np.float32)
    if kind == "heavy tail":
        return np.exp(8 * noise).astype(np.float32)
    if kind == "near zero":
        return (1e-30 * noise + (rng.random(mask.shape) < 0.001)).astype(np.float32)
    if kind == "close":
        return (1 + 1e-12 * noise).astype(np.float64)
    if kind == "negative":
        return (-np.exp(noise)).astype(np.float32)
    return noise.astype(np.float16)


KINDS = ["ties", "heavy tail", "near zero", "close", "negative", "half precision"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_pixel_metrics_equal_their_slow_twins(kind: str, limit: float) -> None:
    rng = np.random.default_rng([3, KINDS.index(kind)])
    masks = [_blobs(rng, 24, 17, n) for n in (0, 1, 4)] + [_blobs(rng, 11, 30, 2)]
    maps = [_scores_of_kind(rng, kind, mask) for mask in masks]
    labels, scores = np.concatenate([m.ravel() for m in masks]), np.concatenate([m.ravel() for m in maps])
    found = aupro(maps, masks, limit).value
    assert found == pytest.approx(aupro_by_thresholds(maps, masks, limit), abs=1e-12)
    assert pixel_auroc(maps, masks).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert pixel_auroc(maps, [None, *masks[1:]]).value == pixel_auroc(maps, masks).value


@pytest.mark.parametrize("seed", range(5))
def test_image_auroc_equals_pairs_and_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate(([0, 1], rng.integers(0, 2, 40)))
    scores = np.round(rng.normal(labels, 1.0), 1)
    assert image_auroc(scores, labels).value == pytest.approx(auroc_by_pairs(scores, labels), abs=1e-14)
    assert image_auroc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_values_found_by_hand() -> None:
    # Good 1, 2, 3; defective 2, 4: of six pairs 4 wins three; 2 wins one, ties one, loses one -> 4.5 / 6.
    assert image_auroc([1, 2, 3, 2, 4], [0, 0, 0, 1, 1]).value == 0.75
    # Every score alike: the curve is the diagonal, so AUROC 1/2, and AUPRO up to 0.3 is 0.3 / 2.
    flat, mask = np.full((4, 4), 7.0, np.float32), np.eye(4, dtype=bool)
    assert pixel_auroc([flat], [mask]).value == 0.5
    assert aupro([flat], [mask]).value == pytest.approx(0.15, abs=1e-15)
    # Two regions, of 1 pixel (found first) and of 9 pixels (found after all 10 normal ones): the overlap is 1/2 up to a
    # false positive rate of 1; pixel AUROC is 1/10, for one anomalous pixel of ten beats the normal ones.
    scores = np.concatenate(([9.0], np.full(10, 5.0) - np.arange(10) / 10, np.full(9, 1.0)))[None].astype(np.float32)
    marks = np.concatenate(([1], np.zeros(10), np.ones(9)))[None].astype(bool)
    assert aupro([scores], [marks]).value == pytest.approx(0.5, abs=1e-15)
    assert pixel_auroc([scores], [marks]).value == pytest.approx(0.1, abs=1e-15)


def test_ramp_over_stripes_found_by_hand() -> None:
    # Ten columns, score = column number; columns 8 and 6 are anomalous stripes. Walking down from 9: false positive
    # rate 1/8 at overlap 0, then 1/2, then 2/8 at 1/2, then 1. Up to 0.25: a quarter of the width 1/8 at 1/2 -> 0.25.
    ramp = np.tile(np.arange(10, dtype=np.float32), (6, 1))
    mask = np.isin(ramp, (8, 6))
    assert aupro([ramp], [mask], limit=0.25).value == pytest.approx(0.25, abs=1e-15)
    assert pixel_auroc([ramp], [mask]).value == pytest.approx((7 + 6) / 16, abs=1e-15)


def test_regions_touching_at_a_corner_are_one() -> None:
    diagonal = np.eye(6, dtype=bool)
    scores = np.zeros((6, 6), np.float32)
    scores[0, 0] = 1.0  # one pixel of six found before any normal one, the others tie with all normal pixels
    expected = 1 / 6 + 5 / 6 * 0.15
    assert aupro([scores], [diagonal]).value == pytest.approx(expected, abs=1e-15)


def test_a_mask_of_one_pixel_and_an_empty_mask() -> None:
    scores = np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6)
    mask = np.zeros((5, 6), bool)
    mask[4, 5] = True
    # The one anomalous pixel ties with the brightest of 59 normal ones: the curve climbs in a straight line to 1/59.
    assert aupro([scores, scores], [mask, np.zeros_like(mask)]).value == pytest.approx(1 - 0.5 / 59 / 0.3, abs=1e-12)
    assert pixel_auroc([scores], [mask]).value == 1.0


def test_undefined_metrics_are_none_with_a_reason() -> None:
    scores, empty = np.zeros((3, 3), np.float32), np.zeros((3, 3), bool)
    assert image_auroc([1.0, 2.0], [0, 0]) == Metric(None, "no defective image")
    assert image_auroc([1.0], [1]) == Metric(None, "no good image")
    assert aupro([scores], [empty]) == Metric(None, "no mask marks an anomalous pixel")
    assert pixel_auroc([], []).value is None
    assert pixel_auroc([scores], [~empty]) == Metric(None, "the masks leave no normal pixel")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    maps = [np.zeros((3, 3), np.float32) for _ in range(2)]
    maps[1][2, 2] = bad
    with pytest.raises(ValueError, match="map 1 holds NaN or infinity"):
        pixel_auroc(maps, [None, np.eye(3, dtype=bool)])
    with pytest.raises(ValueError, match="score 1 is"):
        image_auroc([0.0, bad], [0, 1])


def test_wrong_input_is_named() -> None:
    zeros = np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match=r"mask 0 has shape \(2, 2\), its map \(3, 3\)"):
        pixel_auroc([zeros], [np.ones((2, 2), bool)])
    with pytest.raises(ValueError, match="map 0 must be"):
        pixel_auroc([zeros[None]], [None])
    with pytest.raises(ValueError, match="as many masks as maps"):
        pixel_auroc([zeros], [])
    with pytest.raises(ValueError, match="labels must be 0"):
        image_auroc([1.0, 2.0], [0, 2])
    with pytest.raises(ValueError, match="one length"):
        image_auroc([1.0, 2.0], [0])
    for limit in (0.0, 1.5):
        with pytest.raises(ValueError, match="limit"):
            aupro([zeros], [None], limit=limit)
    with pytest.raises(ValueError, match="defects has 0 entries"):
        evaluate([zeros], [None], [1.0], [0], [])


def _class_of_images(seed: int = 0) -> tuple[list, list, np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    defects = ["good"] * 4 + ["Burrs"] * 3 + ["Stains"] * 3
    masks = [None if d == "good" else _blobs(rng, 20, 20, 2) for d in defects]
    maps = [
        _scores_of_kind(rng, "ties", np.zeros((20, 20), bool) if mask is None else mask).astype(np.float32)
        for mask in masks
    ]
    labels = np.array([d != "good" for d in defects], int)
    return maps, masks, np.array([m.max() for m in maps]), labels, defects


def test_evaluate_agrees_with_the_single_metrics() -> None:
    maps, masks, scores, labels, defects = _class_of_images()
    result = evaluate(maps, masks, scores, labels, defects)
    assert result["image_auroc"] == image_auroc(scores, labels).value
    assert result["pixel_auroc"] == pytest.approx(pixel_auroc(maps, masks).value, abs=1e-15)
    assert result["aupro"] == pytest.approx(aupro(maps, masks).value, abs=1e-12)
    assert result["undefined"] == {} and result["n_test"] == 10
    burrs = [0, 1, 2, 3, 4, 5, 6]
    row = result["per_defect"]["Burrs"]
    assert row["n"] == 3 and list(result["per_defect"]) == ["Burrs", "Stains"]
    assert row["aupro"] == pytest.approx(aupro([maps[i] for i in burrs], [masks[i] for i in burrs]).value, abs=1e-12)
    json.dumps(result, allow_nan=False)


def test_curves_are_thin_and_keep_the_area() -> None:
    rng = np.random.default_rng(5)
    mask = _blobs(rng, 200, 200, 30)
    scores = (rng.gamma(1.0, 1.0, mask.shape) + 2 * mask).astype(np.float32)
    result = evaluate([scores], [mask], [1.0], [1], ["Burrs"])
    roc, pro = result["curves"]["pixel_roc"], result["curves"]["pro"]
    assert "image_roc" not in result["curves"] and result["undefined"] == {"image_auroc": "no good image"}
    assert len(roc["x"]) <= 400 and roc["x"][0] == roc["y"][0] == 0 and roc["x"][-1] == roc["y"][-1] == 1
    assert pro["x"][-1] == 0.3
    assert area_under(np.array(roc["x"]), np.array(roc["y"])) == pytest.approx(result["pixel_auroc"], abs=1e-3)
    assert area_under(np.array(pro["x"]), np.array(pro["y"]), 0.3) == pytest.approx(result["aupro"], abs=1e-3)


def test_image_roc_has_the_corners_of_sklearn() -> None:
    labels, scores = np.array([0, 0, 1, 1, 0, 1]), np.array([1.0, 2.0, 2.0, 3.0, 0.5, 4.0])
    maps = [np.zeros((2, 2), np.float32)] * 6
    curve = evaluate(maps, [None] * 6, scores, labels, ["x"] * 6)["curves"]["image_roc"]
    x, y, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert set(zip(curve["x"], curve["y"], strict=True)) <= set(zip(np.round(x, 6), np.round(y, 6), strict=True))


def test_defective_images_without_masks_are_left_out_of_pixel_metrics() -> None:
    maps, masks, scores, labels, defects = _class_of_images()
    without = evaluate(maps, [None] * 10, scores, labels, defects)
    assert without["aupro"] is None and without["undefined"]["aupro"] == "no mask marks an anomalous pixel"
    assert without["image_auroc"] is not None
    some = [*masks[:9], None]
    assert evaluate(maps, some, scores, labels, defects)["aupro"] == pytest.approx(
        aupro(maps[:9], masks[:9]).value, abs=1e-12
    )


def test_no_images_at_all() -> None:
    result = evaluate([], [], [], [], [])
    assert result["image_auroc"] is None and result["per_defect"] == {} and result["n_test"] == 0


def test_large_maps_take_little_time() -> None:
    rng = np.random.default_rng(0)
    base = rng.gamma(0.3, 1.0, (800, 800)).astype(np.float32)
    mask = np.zeros((800, 800), bool)
    mask[300:380, 200:300] = True
    maps = [np.roll(base, i * 977) for i in range(24)]
    masks = [mask if i % 2 else None for i in range(24)]
    start = time.process_time()  # of all threads together: other work on the machine does not count
    evaluate(maps, masks, rng.random(24), [i % 2 for i in range(24)], ["good", "Burrs"] * 12)
    assert time.process_time() - start < 3  # about 0.4 s on a machine of today
