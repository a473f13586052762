"""Slow twins of PAD_utils.evaluate.metrics, written from the definitions with other means; only tests use them."""

import numpy as np
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


def aupro_by_thresholds(maps: list[np.ndarray], masks: list[np.ndarray], limit: float) -> float:
    """Tries every distinct score as a threshold, counts anew at each, and adds up trapezoids one by one."""
    regions = []
    for index, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
        regions += [(index, labels == k) for k in range(1, count + 1)]
    normal = np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)])
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        overlaps = [(maps[index][region] >= threshold).mean() for index, region in regions]
        points.append(((normal >= threshold).mean(), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def auroc_by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    """Compares every defective score with every good one; a tie counts half."""
    wins = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad in scores[labels == 1]
        for good in scores[labels == 0]
    ]
    return sum(wins) / len(wins)
