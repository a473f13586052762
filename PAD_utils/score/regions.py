"""Defect regions: the connected parts of an anomaly map above the threshold, as boxes and areas."""

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from jaxtyping import Float

_EXTENT = 0.75  # a region holds its surroundings down to this share of the threshold: a peak alone is too small


@dataclass(frozen=True)
class Region:
    """One defect: box (left, top, width, height) and area in pixels of the map, and its highest score."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float

    def as_json(self) -> dict[str, int | float]:
        return asdict(self)


def find_regions(anomaly_map: Float[np.ndarray, "h w"], threshold: float) -> list[Region]:
    """The 8-connected regions that reach above `threshold` somewhere, highest peak first; none if none does."""
    anomaly_map = anomaly_map.astype(np.float64)  # compared in float32, a score just above the threshold would equal it
    candidates = (anomaly_map > _EXTENT * threshold).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(candidates)  # what lies outside costs a server of photographs its time
    if width == 0:
        return []
    candidates, anomaly_map = (of[y : y + height, x : x + width] for of in (candidates, anomaly_map))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(candidates), connectivity=8)
    regions = []
    for label in np.unique(labels[anomaly_map > threshold]):
        left, top, width, height, area = (int(n) for n in boxes[label])
        inside = labels[top : top + height, left : left + width] == label
        peak = float(anomaly_map[top : top + height, left : left + width][inside].max())
        regions.append(Region(x + left, y + top, width, height, area, peak))
    return sorted(regions, key=lambda region: -region.peak)
