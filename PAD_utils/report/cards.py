"""The images of a report and what its page shows of each: pictures, regions, and how much it asks for a look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from PAD_utils.report.charts import ScoreAxis, short
from PAD_utils.report.pictures import Source, encode_all, outline
from PAD_utils.report.sentences import decision_sentence
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK
from PAD_utils.score.regions import Region

CSS = {OK: "ok", DEFECT: "defect", NOT_LOCALISED: "lost", None: "none"}
PICTURE_BUDGET = 13_000_000  # bytes, of the 15 MB that a report of 300 images may have


@dataclass(frozen=True)
class Judged:
    """A test image by its name, and what was decided. None is what is not known."""

    defect: str
    name: str  # without extension
    label: int | None  # 0 good, 1 defective
    score: float | None
    decision: str | None  # OK, DEFECT, NOT LOCALISED

    @property
    def known_score(self) -> float | None:
        """The score, unless there is none or it is not finite."""
        return self.score if self.score is not None and math.isfinite(self.score) else None


@dataclass(frozen=True)
class ReportImage(Judged):
    """A test image that is shown: what came in and what was found."""

    query: UInt8[np.ndarray, "h w 3"]
    rendering: UInt8[np.ndarray, "h w 3"] | None = None
    anomaly_map: Float[np.ndarray, "h w"] | None = None
    mask: Bool[np.ndarray, "h w"] | None = None
    pose: Float[np.ndarray, "4 4"] | None = None  # world_from_camera, Blender axes
    regions: Sequence[Region] = field(default_factory=list)  # in pixels of the image as it was compared
    size: tuple[int, int] | None = None  # (width, height) of that image; None: the query's

    @property
    def width(self) -> int:
        """Pixels of the image as it was compared."""
        return self.query.shape[1] if self.size is None else self.size[0]

    @property
    def height(self) -> int:
        """Pixels of the image as it was compared."""
        return self.query.shape[0] if self.size is None else self.size[1]


def cards(
    images: Sequence[ReportImage],
    threshold: float | None,
    everything: Sequence[Judged] | None = None,
    other_bytes: int = 0,
) -> list[dict[str, Any]]:
    """What the template needs of each image, those that need a look first, on the axis of the scores of `everything`
    (None: of these). `other_bytes` of the page's budget are spent."""
    sources = [Source(i.query, i.rendering, i.anomaly_map) for i in images]
    pictures = encode_all(sources, usual_defect(images, threshold), PICTURE_BUDGET - other_bytes)
    axis = ScoreAxis.of(known_scores(everything or images), threshold)
    found = []
    for i, (image, encoded, concern) in enumerate(zip(images, pictures, _concern(images, threshold), strict=True)):
        score = image.known_score
        found.append(
            {
                "id": i,
                "image": image,
                "css": CSS[image.decision],
                "pictures": encoded,
                "width": image.width,
                "height": image.height,
                "outline": outline(image.mask) if image.mask is not None and image.mask.any() else "",
                "score": None if score is None else short(score),
                "bar": None if score is None else 100 * float(axis.share(score)),
                "tick": None if threshold is None else 100 * float(axis.share(threshold)),
                "mistake": _mistake(image),
                "sentence": decision_sentence(
                    image.decision, score, threshold, image.anomaly_map, image.mask, image.width
                ),
                "concern": concern,
                "regions": [_region(region) for region in image.regions],
                "pose": _viewpoint(image.pose),
            }
        )
    return sorted(found, key=lambda card: -card["concern"])


def usual_defect(images: Sequence[ReportImage], threshold: float | None) -> float | None:
    """The highest score of a defect of middling size; None if there is a threshold and nothing went above it."""
    peaks = [max(region.peak for region in image.regions) for image in images if image.regions]
    if not peaks and threshold is None:
        peaks = [float(image.anomaly_map.max()) for image in images if image.anomaly_map is not None]
    return float(np.median(peaks)) if peaks else None


def known_scores(images: Sequence[Judged]) -> list[float]:
    """The scores that are there and finite."""
    return [score for image in images if (score := image.known_score) is not None]


def _concern(images: Sequence[ReportImage], threshold: float | None) -> list[float]:
    """How much each image asks for a look: how far its score is on the wrong side; without a label, how high it is."""
    scores = known_scores(images)
    middle = threshold if threshold is not None else (float(np.median(scores)) if scores else 0.0)
    worst = max([abs(s - middle) for s in scores], default=0.0) + 1
    concern = []
    for image in images:
        score = image.known_score
        if score is None:
            concern.append(2 * worst)
            continue
        wrong = middle - score if image.label == 1 else score - middle
        concern.append(wrong + worst if image.decision == NOT_LOCALISED else wrong)
    return concern


def _mistake(image: ReportImage) -> str | None:
    if image.label == 1 and image.decision == OK:
        return "missed"
    if image.label == 0 and image.decision == DEFECT:
        return "false alarm"
    return None


def _region(region: Region) -> dict[str, int | str]:
    peak = short(region.peak)
    return {"x": region.left, "y": region.top, "w": region.width, "h": region.height, "area": region.area, "peak": peak}


def _viewpoint(pose: np.ndarray | None) -> str:
    """Where the camera stands, seen from the world's origin, in words."""
    if pose is None:
        return ""
    x, y, z = (float(v) for v in pose[:3, 3])
    distance = math.hypot(x, y, z)
    elevation, azimuth = math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))
    side = "above" if elevation >= 0 else "below"
    return f"Seen from {distance:.2f} units away, {abs(elevation):.0f}° {side} the horizon, at azimuth {azimuth:.0f}°"
