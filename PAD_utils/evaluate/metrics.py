"""Image AUROC, pixel AUROC and AUPRO of anomaly scores, exact, ties and heavy tails included.

`python -m PAD_utils.evaluate MAPS_DIR GROUND_TRUTH_DIR` evaluates any method's maps in the layout of MVTec AD.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from PAD_utils.evaluate import ranking
from PAD_utils.evaluate.ranking import Corners, PixelScores

PRO_LIMIT = 0.3  # the false positive rate up to which MVTec AD and all who follow it integrate
_CURVE_STEPS = 200  # of a curve in a report, two points each: more than a screen can show
_NO_ANOMALOUS_PIXEL = "no mask marks an anomalous pixel"
_NO_NORMAL_PIXEL = "the masks leave no normal pixel"


@dataclass(frozen=True)
class Metric:
    """A figure in [0, 1], or None and the reason why it is undefined."""

    value: float | None
    reason: str | None = None


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> Metric:
    """The chance that a defective image (label 1) scores above a good one (label 0), ties counting half.

    Raises ValueError for scores that are not finite or labels other than 0 and 1.
    """
    counted, reason = _image_corners(scores, labels)
    return Metric(None, reason) if counted is None else Metric(ranking.rank_area(counted))


def pixel_auroc(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray | None]) -> Metric:
    """The same chance for the pixels of score maps (h, w); a mask (h, w) is true at anomalous pixels, None means none.

    Raises ValueError for maps that hold NaN or infinity or that do not fit their masks.
    """
    counted, reason = _pixel_corners(ranking.collect(maps, masks))
    return Metric(None, reason) if counted is None else Metric(ranking.rank_area(counted))


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], limit: float = PRO_LIMIT) -> Metric:
    """Area under the per-region overlap curve (Bergmann et al., IJCV 2021, section 5.1) up to a false positive rate.

    The curve is the mean over all 8-connected anomalous regions of the share found, against the share of all normal
    pixels falsely found; the area is divided by the limit in (0, 1]. Raises ValueError as `pixel_auroc` does.
    """
    _check_limit(limit)
    counted, reason = _pixel_corners(ranking.collect(maps, masks))
    return Metric(None, reason) if counted is None else Metric(_pro_area(counted, limit))


def evaluate(
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None],
    scores: ArrayLike,
    labels: ArrayLike,
    defects: Sequence[str],
    limit: float = PRO_LIMIT,
) -> dict:
    """All metrics of n test images: maps and masks (h, w), image scores, labels 0 or 1, names of the defect kinds.

    A good image needs no mask; a defective one without is left out of the pixel metrics. Returns, ready for JSON:
    `image_auroc`, `pixel_auroc`, `aupro` (fraction or None), `undefined` (metric -> reason), `n_test`,
    `per_defect` (kind -> the same metrics of its images against the good ones, `n`), `curves` (name -> x and y).
    Raises ValueError as the single metrics do.
    """
    _check_limit(limit)
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    for name, values in (("masks", masks), ("scores", scores), ("labels", labels), ("defects", defects)):
        if len(values) != len(maps):
            raise ValueError(f"{name} has {len(values)} entries, maps has {len(maps)}")
    good = [i for i in range(len(maps)) if labels[i] == 0]
    kinds = {d: [i for i in range(len(maps)) if labels[i] and defects[i] == d] for d in defects}
    kinds = {d: kinds[d] for d in sorted(kinds) if kinds[d]}

    def pixels(indices: list[int]) -> PixelScores:
        usable = [i for i in indices if labels[i] == 0 or masks[i] is not None]
        return ranking.collect([maps[i] for i in usable], [masks[i] for i in usable])

    of_good, of_kind = pixels(good), {d: pixels(indices) for d, indices in kinds.items()}
    every = range(len(maps))
    result, curves = _summary(ranking.merge([of_good, *of_kind.values()]), scores[every], labels[every], limit)
    per_defect = {}
    for kind, indices in kinds.items():
        members = good + indices
        row, _ = _summary(ranking.merge([of_good, of_kind[kind]]), scores[members], labels[members], limit)
        per_defect[kind] = {"n": len(indices), **row}
    return {**result, "n_test": len(maps), "per_defect": per_defect, "curves": curves}


def _summary(pixels: PixelScores, scores: np.ndarray, labels: np.ndarray, limit: float) -> tuple[dict, dict]:
    """The three metrics with reasons, and the curves behind those that are defined."""
    values: dict[str, float | None] = {"image_auroc": None, "pixel_auroc": None, "aupro": None}
    undefined, curves = {}, {}
    image, image_reason = _image_corners(scores, labels)
    if image is None:
        undefined["image_auroc"] = image_reason
    else:
        values["image_auroc"] = ranking.rank_area(image)
        curves["image_roc"] = _curve(image, image.hits / image.hits[-1])
    pixel, pixel_reason = _pixel_corners(pixels)
    if pixel is None:
        undefined["pixel_auroc"] = undefined["aupro"] = pixel_reason
    else:
        values["pixel_auroc"], values["aupro"] = ranking.rank_area(pixel), _pro_area(pixel, limit)
        curves["pixel_roc"] = _curve(pixel, pixel.hits / pixel.hits[-1])
        curves["pro"] = _curve(pixel, pixel.overlap, limit)
    return {**values, "undefined": undefined}, curves


def _image_corners(scores: ArrayLike, labels: ArrayLike) -> tuple[Corners | None, str | None]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores and labels must be lists of one length, got shapes {scores.shape}, {labels.shape}")
    for i in np.flatnonzero(~np.isfinite(scores)):
        raise ValueError(f"score {i} is {scores[i]}: image scores must be finite")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 (good) or 1 (defective), got {sorted(set(labels.tolist()) - {0, 1})}")
    if not (labels == 1).any():
        return None, "no defective image"
    if not (labels == 0).any():
        return None, "no good image"
    bad = scores[labels == 1]
    return ranking.corners(PixelScores([np.sort(scores[labels == 0])], bad, np.ones(bad.size), bad.size)), None


def _pixel_corners(pixels: PixelScores) -> tuple[Corners | None, str | None]:
    if pixels.regions == 0:
        return None, _NO_ANOMALOUS_PIXEL
    if pixels.normal_count == 0:
        return None, _NO_NORMAL_PIXEL
    return ranking.corners(pixels), None


def _pro_area(counted: Corners, limit: float) -> float:
    return ranking.area_under(*ranking.curve_through(counted, counted.overlap), limit)


def _curve(counted: Corners, height: np.ndarray, limit: float = 1.0) -> dict[str, list[float]]:
    """The curve up to x = limit with so few points that a report can hold it; `height` is as in `curve_through`."""
    x, y = ranking.curve_through(counted, height)
    along = x / limit + y  # ascending: even steps along it follow steep and flat parts alike
    end = int(np.searchsorted(x, limit, side="right"))
    steps = np.searchsorted(along[:end], np.linspace(0, along[end - 1], _CURVE_STEPS))
    keep = np.unique(np.concatenate((steps, np.maximum(steps - 1, 0))))  # both ends of what a step crosses
    points = np.column_stack((x[keep], y[keep]))
    if end < x.size and x[end - 1] < limit:
        points = np.vstack((points, [limit, np.interp(limit, x[end - 1 : end + 1], y[end - 1 : end + 1])]))
    return {"x": points[:, 0].round(6).tolist(), "y": points[:, 1].round(6).tolist()}


def _check_limit(limit: float) -> None:
    if not 0 < limit <= 1:
        raise ValueError(f"the limit of the false positive rate must lie in (0, 1], got {limit}")
