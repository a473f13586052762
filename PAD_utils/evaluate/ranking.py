"""Exact ROC and per-region-overlap curves of score maps: every pixel is ranked, none is put into a bin.

Only an anomalous pixel's score moves the true positive rate or the region overlap, so the curves have corners at the
distinct scores of anomalous pixels and nowhere else. The (many) normal pixels are sorted once and counted against the
(few) anomalous ones. Ties are a straight line, as the definition of the area under a curve asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_splatting.parallel import parallel, thread_count

_MOST_SHARDS = 4  # sorting is bound by memory bandwidth: more threads than this gain nothing
_MIN_SHARD = 1 << 20  # below this many pixels a thread costs more than it saves


@dataclass(frozen=True)
class PixelScores:
    """The pixels of some images, ready to be ranked against each other."""

    normal: list[NDArray[np.floating]]  # sorted ascending, split into shards
    anomalous: NDArray[np.floating]  # (p,) in no order
    weights: NDArray[np.float64]  # (p,) one over the area in pixels of the region that holds the pixel
    regions: int

    @property
    def normal_count(self) -> int:
        """How many normal pixels there are."""
        return sum(shard.size for shard in self.normal)


@dataclass(frozen=True)
class Corners:
    """What lies at or above each distinct score of an anomalous pixel, scores descending; k distinct scores."""

    above: NDArray[np.int64]  # (k,) normal pixels with a higher score
    at_least: NDArray[np.int64]  # (k,) normal pixels with this or a higher score
    hits: NDArray[np.int64]  # (k,) anomalous pixels with this or a higher score
    overlap: NDArray[np.float64]  # (k,) mean over regions of the share of the region with this or a higher score
    normal_count: int


def collect(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray | None]) -> PixelScores:
    """Sorts the pixels of score maps (h, w) by what the masks (h, w) call anomalous; a mask None is all normal.

    Regions are 8-connected. Maps of several sizes may be mixed. Scores are compared in float32 if all maps are
    float32 or smaller, else in float64. Raises ValueError, naming the index, for a map that is not two-dimensional,
    holds NaN or infinity, or does not fit its mask.
    """
    if len(maps) != len(masks):
        raise ValueError(f"as many masks as maps are needed, got {len(masks)} masks and {len(maps)} maps")
    dtype = np.result_type(np.float32, *{m.dtype for m in maps})
    found = [_check_mask(i, m, mask) for i, (m, mask) in enumerate(zip(maps, masks, strict=True))]
    anomalous, weights, regions = [np.empty(0, dtype)], [np.empty(0)], 0
    for score_map, mask in zip(maps, found, strict=True):
        if mask is None:
            continue
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = (slice(top, top + height), slice(left, left + width))  # the rest needs no labels
        marked = mask[box]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(marked.view(np.uint8), connectivity=8)
        area_of_label = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
        anomalous.append(score_map[box][marked].astype(dtype))
        weights.append(1 / area_of_label[labels[marked]])
        regions += count - 1  # label 0 is the background
    return PixelScores(_sorted_normal(maps, found, dtype), np.concatenate(anomalous), np.concatenate(weights), regions)


def merge(parts: Sequence[PixelScores]) -> PixelScores:
    """The pixels of several groups of images together; no score is copied but the anomalous ones."""
    return PixelScores(
        [shard for part in parts for shard in part.normal],
        np.concatenate([part.anomalous for part in parts]),
        np.concatenate([part.weights for part in parts]),
        sum(part.regions for part in parts),
    )


def corners(scores: PixelScores) -> Corners:
    """Counts all pixels at each distinct anomalous score; needs at least one anomalous pixel."""
    order = np.argsort(scores.anomalous)
    ranked = scores.anomalous[order]
    first = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    values = ranked[first]
    from_top = np.cumsum(scores.weights[order][::-1])[::-1]
    ranks = parallel(lambda shard: _ranks(shard, values), scores.normal)
    total = scores.normal_count
    below = sum((b for b, _ in ranks), np.zeros(values.size, np.int64))
    not_above = sum((n for _, n in ranks), np.zeros(values.size, np.int64))
    return Corners(
        above=(total - not_above)[::-1],
        at_least=(total - below)[::-1],
        hits=(order.size - first)[::-1],
        overlap=np.minimum(from_top[first] / scores.regions, 1.0)[::-1],
        normal_count=total,
    )


def curve_through(c: Corners, height: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(x, y), 2k + 2 points from (0, 0) to (1, 1): `height` (k,) against the share of normal pixels falsely found."""
    x = np.empty(2 * height.size + 2)
    y = np.empty_like(x)
    x[0], y[0], x[-1], y[-1] = 0.0, 0.0, 1.0, 1.0
    x[1:-1:2], x[2:-1:2] = c.above / c.normal_count, c.at_least / c.normal_count
    y[1:-1:2], y[2:-1:2] = np.concatenate(([0.0], height[:-1])), height
    return x, y


def area_under(x: np.ndarray, y: np.ndarray, limit: float = 1.0) -> float:
    """The area under straight lines through (x, y), x ascending from 0, up to x = limit, divided by limit."""
    inside = int(np.searchsorted(x, limit, side="right"))
    xs, ys = x[:inside], y[:inside]
    if inside < x.size:
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        xs = np.append(xs, limit)
        ys = np.append(ys, y[inside - 1] + share * (y[inside] - y[inside - 1]))
    return float(np.dot(np.diff(xs), ys[1:] + ys[:-1]) / (2 * limit))


def rank_area(c: Corners) -> float:
    """The chance that an anomalous pixel scores above a normal one, ties counting half; integers up to the division."""
    at_score = np.diff(c.hits, prepend=0)
    # Both are below 2^63 for fewer than 4e9 pixels.
    doubled_wins = int(np.dot(at_score, 2 * c.normal_count - c.above - c.at_least))
    return doubled_wins / (2 * int(c.hits[-1]) * c.normal_count)


def _check_mask(index: int, score_map: np.ndarray, mask: np.ndarray | None) -> NDArray[np.bool_] | None:
    """The mask as contiguous bool, or None if it marks nothing."""
    if score_map.ndim != 2 or score_map.size == 0:
        raise ValueError(f"map {index} must be (height, width) and not empty, got shape {score_map.shape}")
    if not (np.isfinite(score_map.min()) and np.isfinite(score_map.max())):  # min and max hand NaN on
        raise ValueError(f"map {index} holds NaN or infinity")
    if mask is None:
        return None
    if mask.shape != score_map.shape:
        raise ValueError(f"mask {index} has shape {mask.shape}, its map {score_map.shape}")
    marked = np.ascontiguousarray(mask != 0)
    return marked if marked.any() else None


def _sorted_normal(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], dtype: np.dtype
) -> list[NDArray[np.floating]]:
    """The scores of all normal pixels, sorted within each of a few shards, in parallel."""
    counts = [
        m.size - (0 if mask is None else int(np.count_nonzero(mask))) for m, mask in zip(maps, masks, strict=True)
    ]
    scores = np.empty(sum(counts), dtype)
    for score_map, mask, end, count in zip(maps, masks, np.cumsum(counts), counts, strict=True):
        scores[end - count : end] = score_map.ravel() if mask is None else score_map[~mask]
    shards = np.array_split(scores, max(1, min(_MOST_SHARDS, thread_count(), scores.size // _MIN_SHARD)))
    parallel(lambda shard: shard.sort(), shards)
    return shards


def _ranks(shard: np.ndarray, values: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of the sorted shard lie below each of the ascending values, and how many do not lie above it."""
    below = np.searchsorted(shard, values, side="left")
    not_above = below.copy()
    if shard.size:
        tied = shard[np.minimum(below, shard.size - 1)] == values
        not_above[tied] = np.searchsorted(shard, values[tied], side="right")
    return below, not_above
