"""From where an object was photographed, where views are missing, and what to do about it, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

FEW, ENOUGH = 20, 36  # photographs below which little can be promised, and from which a ring is dense
GAP_DEG = 22.0  # a direction farther from every photograph than this is a gap
_BAND_DEG = 10.0  # gaps are looked for this far above and below the photographs
_MOST_GAPS = 4
_ONE_RING_DEG = 12.0  # elevations within this are one ring
_BLURRED = 0.35  # of the median sharpness
_UNEVEN = 0.12  # spread of brightness over its mean
_BAD_ERROR_PX = 1.2
_GRID = (180, 360)  # elevation and azimuth in degrees
Directions = Float[np.ndarray, "n 3"]


@dataclass(frozen=True)
class Gap:
    """A direction that no photograph shows: azimuth and elevation in degrees, how far the nearest photographs are."""

    azimuth_deg: float
    elevation_deg: float
    nearest_deg: float
    neighbors: tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """What is known of one photograph: its direction from the object, sharpness, and brightness of what it shows."""

    name: str
    direction: Float[np.ndarray, "3"]
    sharpness: float
    brightness: float
    error_px: float


def measured(
    name: str, direction: Float[np.ndarray, "3"], pixels: UInt8[np.ndarray, "h w c"], error_px: float
) -> Facts:
    """The facts of a photograph: sharpness is the 99th percentile of its Laplacian, brightness its mean gray level."""
    gray = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY)
    edges = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    return Facts(name, direction, float(np.percentile(edges, 99)), float(gray.mean()), error_px)


def find_gaps(facts: Sequence[Facts]) -> list[Gap]:
    """The largest gaps between photographs, at elevations that they reach; at most four."""
    directions = np.stack([fact.direction for fact in facts])
    grid = _grid().reshape(-1, 3)
    low, high = elevations_deg(directions).min() - _BAND_DEG, elevations_deg(directions).max() + _BAND_DEG
    grid = grid[(elevations_deg(grid) >= low) & (elevations_deg(grid) <= high)]
    found: list[Gap] = []
    known = directions
    while len(found) < _MOST_GAPS:
        nearest = angles_deg(grid, known).min(1)
        worst = int(nearest.argmax())
        if nearest[worst] < GAP_DEG:
            break
        order = angles_deg(grid[worst : worst + 1], directions)[0].argsort()
        names = (facts[order[0]].name, facts[order[min(1, len(order) - 1)]].name)
        azimuth = float(np.degrees(np.arctan2(grid[worst, 1], grid[worst, 0])))
        elevation = float(elevations_deg(grid[worst : worst + 1])[0])
        found.append(Gap(azimuth, elevation, float(nearest[worst]), names))
        known = np.concatenate([known, grid[worst : worst + 1]])
    return found


def covered_share(directions: Directions, within_deg: float = GAP_DEG) -> float:
    """The share of the sphere that lies within an angle of some photograph."""
    grid = _grid()
    near = angles_deg(grid.reshape(-1, 3), directions).min(1).reshape(_GRID) <= within_deg
    area = np.cos(np.radians(elevations_deg(grid)))
    return float((near * area).sum() / area.sum())


def suggestions(facts: Sequence[Facts], lost: Sequence[str], gaps: Sequence[Gap]) -> list[str]:
    """What would make the class better, most urgent first; empty when nothing is wrong."""
    found = []
    if lost:
        found.append(
            f"Not registered: {_names(lost)}. Take photographs in between, sharp, 10 degrees or less from a neighbor,"
            " or put something with texture (newspaper) below the part."
        )
    if len(facts) < ENOUGH:
        few = "too few for a threshold to be trusted" if len(facts) < FEW else "enough to work, more are better"
        found.append(f"{len(facts)} photographs are {few}: aim at {ENOUGH} or more, 10 degrees apart.")
    for gap in gaps:
        found.append(
            f"No photograph within {gap.nearest_deg:.0f} degrees of azimuth {gap.azimuth_deg:.0f}, elevation"
            f" {gap.elevation_deg:.0f}: take more between {gap.neighbors[0]} and {gap.neighbors[1]}."
        )
    elevations = elevations_deg(np.stack([fact.direction for fact in facts]))
    if np.ptp(elevations) < _ONE_RING_DEG:
        found.append(
            f"All photographs lie on one ring (elevation {np.median(elevations):.0f}): a query from higher or lower may"
            " not be found. Add a ring 20 to 30 degrees above or below."
        )
    return found + _about_pictures(facts)


def sphere_picture(facts: Sequence[Facts], gaps: Sequence[Gap]) -> UInt8[np.ndarray, "h w 3"]:
    """A map of directions, BGR: azimuth to the right, elevation upward; the farther from a photograph, the darker.

    Photographs are dots, gaps are rings.
    """
    near = angles_deg(_grid().reshape(-1, 3), np.stack([f.direction for f in facts])).min(1).reshape(_GRID)
    shade = np.clip(1 - near / (2 * GAP_DEG), 0, 1)[..., None]
    picture = np.round(shade * [120, 200, 120] + (1 - shade) * [70, 60, 60]).astype(np.uint8)
    picture = np.ascontiguousarray(cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR))
    for fact in facts:
        azimuth = float(np.degrees(np.arctan2(fact.direction[1], fact.direction[0])))
        elevation = float(elevations_deg(fact.direction[None])[0])
        cv2.circle(picture, _place(azimuth, elevation), 5, (255, 255, 255), -1, cv2.LINE_AA)
    for gap in gaps:
        cv2.circle(picture, _place(gap.azimuth_deg, gap.elevation_deg), 14, (60, 90, 255), 3, cv2.LINE_AA)
    return picture


def angles_deg(a: Directions, b: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "n m"]:
    """Angles between unit vectors, each of `a` with each of `b`."""
    return np.degrees(np.arccos(np.clip(a @ b.T, -1, 1)))


def elevations_deg(directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Elevations of unit vectors above the plane z = 0."""
    return np.asarray(np.degrees(np.arcsin(np.clip(directions[..., 2], -1, 1))))


def _about_pictures(facts: Sequence[Facts]) -> list[str]:
    found = []
    sharpness = np.array([fact.sharpness for fact in facts])
    blurred = [f.name for f in facts if f.sharpness < _BLURRED * float(np.median(sharpness))]
    if blurred:
        found.append(f"Blurred beside the others: {_names(blurred)}. Take them again, or leave them out.")
    brightness = np.array([fact.brightness for fact in facts])
    if brightness.std() > _UNEVEN * brightness.mean():
        found.append("Brightness differs between photographs: lock exposure and white balance.")
    errors = np.array([fact.error_px for fact in facts])
    if np.median(errors) > _BAD_ERROR_PX:
        found.append(
            f"The median reprojection error is {np.median(errors):.1f} px: was the part moved between photographs, or"
            " does the lens need --lens OPENCV?"
        )
    return found


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _grid() -> Float[np.ndarray, "180 360 3"]:
    """Directions of a map, top row first, azimuth from -180 degrees."""
    elevation, azimuth = np.meshgrid(
        np.radians(89.5 - np.arange(180)), np.radians(np.arange(360) - 179.5), indexing="ij"
    )
    return np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1)


def _place(azimuth_deg: float, elevation_deg: float) -> tuple[int, int]:
    return round(3 * (azimuth_deg + 180)) % 1080, round(3 * (90 - elevation_deg))
