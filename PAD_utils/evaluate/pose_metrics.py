"""How far estimated camera poses are from the true ones, and how good a set of them is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from gaussian_splatting.geometry import check_rigid, rigid_inverse, rotation_angle

AUC_DEGREES = (5.0, 10.0, 20.0)  # the thresholds that pose benchmarks report
RECALLS = ((0.5, 0.05), (1.0, 0.1), (5.0, 0.25))  # (degrees, world units), a MAD camera being 3 to 4 units away


@dataclass(frozen=True)
class PoseError:
    """The distance of two camera centers in world units and the angle between the cameras in [0, pi] rad."""

    translation: float
    rotation_rad: float

    @property
    def rotation_deg(self) -> float:
        """The angle in degrees, in [0, 180]."""
        return math.degrees(self.rotation_rad)


def pose_error(estimate: Float[Tensor, "4 4"], true: Float[Tensor, "4 4"]) -> PoseError:
    """Distance of two poses, both world_from_camera in the same axes, in float64.

    Raises ValueError, naming the argument, if one is not a rigid motion to 1e-4.
    """
    estimate, true = estimate.double(), true.double()
    for name, pose in (("estimate", estimate), ("true", true)):
        check_rigid(name, pose)
    true_from_estimate = rigid_inverse(true) @ estimate
    return PoseError(
        translation=(estimate[:3, 3] - true[:3, 3]).norm().item(),
        rotation_rad=rotation_angle(true_from_estimate[:3, :3]).item(),
    )


def area_under_recall(errors: ArrayLike, threshold: float) -> float:
    """The area under the curve "share of images with at most this error" from 0 to the threshold, divided by it.

    Exact: the mean of max(0, 1 - error / threshold). Infinite errors count as never found. Raises ValueError when there
    are no errors, one is NaN or negative, or the threshold is not above 0.
    """
    checked = _check_errors(errors)
    if not threshold > 0:
        raise ValueError(f"the threshold must be above 0, got {threshold}")
    return float(np.clip(1 - checked / threshold, 0, None).mean())


def recall(errors: Sequence[PoseError], rotation_deg: float, translation: float = math.inf) -> float:
    """The share of images within both the angle in degrees and the distance in world units."""
    _check_errors([e.rotation_rad for e in errors])
    return sum(e.rotation_deg <= rotation_deg and e.translation <= translation for e in errors) / len(errors)


def summarize(errors: Sequence[PoseError]) -> dict:
    """Figures of a set of poses, ready for JSON: `n`, `lost`, mean, median and std of the images that were found
    (`rotation_deg`, `translation`; None if none was), `auc_deg` (threshold -> area) and `recall` over all images.

    Raises ValueError when there are no errors or one is NaN.
    """
    angles = np.degrees(_check_errors([e.rotation_rad for e in errors]))
    distances = _check_errors([e.translation for e in errors])
    found = np.isfinite(angles) & np.isfinite(distances)
    return {
        "n": len(errors),
        "lost": int((~found).sum()),
        "rotation_deg": _spread(angles[found]),
        "translation": _spread(distances[found]),
        "auc_deg": {f"{t:g}": area_under_recall(angles, t) for t in AUC_DEGREES},
        "recall": {f"{deg:g} deg, {units:g}": recall(errors, deg, units) for deg, units in RECALLS},
    }


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not values.size:
        return None
    return {"mean": float(values.mean()), "median": float(np.median(values)), "std": float(values.std())}


def _check_errors(errors: ArrayLike) -> np.ndarray:
    checked = np.asarray(errors, np.float64)
    if checked.size == 0:
        raise ValueError("at least one pose error is needed")
    if not (checked >= 0).all():  # false for NaN too
        raise ValueError("pose errors must be numbers not below 0, one is NaN or negative")
    return checked
