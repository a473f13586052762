"""What a report says in words: by how much a picture was decided, and what a few pictures can tell of a rate."""

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import betaincinv  # scipy.stats has both in one call, and takes 0.7 s to import

from PAD_utils.report.charts import short
from PAD_utils.score.calibration import NOT_LOCALISED

_RULE_OF_THREE = 3  # of n pictures without one false alarm the true rate may still be 3 / n (at 95 %)


def decision_sentence(
    decision: str | None,
    score: float | None,
    threshold: float | None,
    anomaly_map: Float[np.ndarray, "h w"] | None = None,
    mask: Bool[np.ndarray, "h w"] | None = None,
    width: int | None = None,
) -> str:
    """By how much a score clears or misses the threshold, and where the highest spot is; "" where there is no score.
    `width`: of the image as it was compared, where the map is a smaller copy."""
    if decision == NOT_LOCALISED:
        return "No pose that can be trusted was found, so score and heat map mean nothing and it was not decided."
    if score is None or threshold is None:
        return ""
    side = "above" if score > threshold else "below"
    said = f"Score {short(score)} is {abs(score - threshold):.2g} {side} the threshold {short(threshold)}"
    spot = "" if anomaly_map is None else _spot(anomaly_map, mask, width or anomaly_map.shape[1])
    return f"{said}; the highest spot {spot}." if spot else f"{said}."


def _spot(anomaly_map: np.ndarray, mask: np.ndarray | None, width: int) -> str:
    """Where the highest score is: against the marked defect where there is one, else in pixels."""
    y, x = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    if mask is None or not mask.any() or mask.shape != anomaly_map.shape:
        scale = width / anomaly_map.shape[1]
        return f"is at {int((x + 0.5) * scale)}, {int((y + 0.5) * scale)}"
    distance = float(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[y, x])
    return "lies on the marked defect" if distance == 0 else f"lies {distance:.0f} px beside the marked defect"


def interval(count: int, of: int) -> tuple[float, float]:
    """Where a rate lies that was seen `count` times of `of` (at least 1), at 95 % (Clopper and Pearson, exact)."""
    low = betaincinv(count, of - count + 1, 0.025) if count else 0.0
    high = betaincinv(count + 1, of - count, 0.975) if count < of else 1.0
    return float(low), float(high)


def percent(rate: float) -> str:
    """A rate for a sentence."""
    return f"{100 * rate:.3g} %"


def rate_in_words(count: int, of: int, promised: float | None = None) -> str:
    """The interval of a measured rate, and whether it speaks for or against the promised one."""
    low, high = interval(count, of)
    said = f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    if promised is None:
        return said
    if low > promised:
        return f"{said}: more than the promised {percent(promised)}"
    if of < _RULE_OF_THREE / promised:
        return f"{said}: too few pictures to judge the promised {percent(promised)}"
    return f"{said}, promised {percent(promised)}"
