"""Defects of brick objects: spiky burrs on an edge, missing bricks or limbs, stains on a face."""

import colorsys
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from PAD_utils.synthetic.shapes import Color, Part

_LIFT = 0.002  # world units between a stain and its face: far less than a pixel, far more than rounding
_STAIN_RADIUS = (0.03, 0.062)  # world units: 3 to 6 pixels at 200 px and 3 units
_TOOTH_LENGTH = (0.045, 0.085)
_TOOTH_WIDTH = 0.04
_NEAR_COLOR = (0.15, 0.26)  # a near stain differs this much in lightness
_FAR_COLOR = 0.35  # a contrasting stain differs at least this much


def add_burrs(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """Two to five teeth in the part's own color along a stretch of one of its edges."""
    part = _choose([p for p in parts if p.boxy], rng)
    low, high = np.array(part.low), np.array(part.high)
    axis = int(rng.integers(3))
    others = [i for i in range(3) if i != axis]
    sides = rng.integers(0, 2, 2)
    outward = np.zeros(3)
    start = low.copy()
    for i, side in zip(others, sides, strict=True):
        outward[i] = 1.0 if side else -1.0
        start[i] = (high if side else low)[i]
    count = int(rng.integers(2, 6))
    width = min(_TOOTH_WIDTH, (high - low)[axis] / count)
    start[axis] += rng.uniform(0, max(0.0, (high - low)[axis] - count * width))
    teeth = []
    for number in range(count):
        base = start.copy()
        base[axis] += (number + 0.5) * width
        direction = outward / np.sqrt(2) + 0.35 * rng.standard_normal(3)
        tip = base + rng.uniform(*_TOOTH_LENGTH) * direction / np.linalg.norm(direction)
        teeth.append(_tooth(base, tip, axis, width, outward))
    return [*parts, _piece(f"{part.name}/burr", teeth, part.color)]


def remove_part(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """All parts but a loose one and what hangs on it."""
    gone = _choose([p for p in parts if p.loose], rng).name
    return [p for p in parts if p.name != gone and not p.name.startswith(f"{gone}/")]


def add_stains(parts: Sequence[Part], rng: np.random.Generator) -> list[Part]:
    """One or two blobs or ragged polygons on a face, of a contrasting color or of a near one."""
    part = _choose([p for p in parts if p.boxy], rng)
    low, high = np.array(part.low), np.array(part.high)
    axis, positive = int(rng.integers(3)), bool(rng.integers(2))
    color = _stain_color(part.color, rng)
    blobs = []
    for _ in range(1 if rng.random() < 0.75 else 2):
        polygon = _blob(low, high, axis, rng)
        if len(polygon) < 3:
            continue
        polygon[:, axis] = high[axis] + _LIFT if positive else low[axis] - _LIFT
        fan = np.array([[0, i, i + 1] for i in range(1, len(polygon) - 1)])
        blobs.append((polygon, fan))
    return [*parts, _piece(f"{part.name}/stain", blobs, color)] if blobs else add_stains(parts, rng)


DEFECTS: dict[str, Callable[[Sequence[Part], np.random.Generator], list[Part]]] = {
    "Burrs": add_burrs,
    "Missing": remove_part,
    "Stains": add_stains,
}


def _choose(parts: Sequence[Part], rng: np.random.Generator) -> Part:
    return parts[int(rng.integers(len(parts)))]


def _piece(name: str, meshes: list[tuple[np.ndarray, np.ndarray]], color: Color) -> Part:
    offsets = np.cumsum([0] + [len(v) for v, _ in meshes])
    faces = np.concatenate([f + offset for (_, f), offset in zip(meshes, offsets[:-1], strict=True)])
    zero = (0.0, 0.0, 0.0)
    return Part(name, np.concatenate([v for v, _ in meshes]), faces, color, zero, zero, boxy=False)


def _tooth(
    base: np.ndarray, tip: np.ndarray, axis: int, width: float, outward: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A four-sided spike whose foot is sunk into the edge."""
    along = np.zeros(3)
    along[axis] = width / 2
    across = np.cross(along, outward)
    across *= 0.5 * width / np.linalg.norm(across)
    foot = base - 0.3 * width * outward
    vertices = np.array([foot - along, foot + across, foot + along, foot - across, tip])
    return vertices, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def _blob(low: np.ndarray, high: np.ndarray, axis: int, rng: np.random.Generator) -> Float[np.ndarray, "_ 3"]:
    """A polygon on the face normal to `axis`, cut off at the face's border."""
    u, v = [i for i in range(3) if i != axis]
    center = rng.uniform(low, high)
    ragged = bool(rng.random() < 0.5)
    count = int(rng.integers(5, 9)) if ragged else 16
    angle = 2 * np.pi * (np.arange(count) + (rng.uniform(-0.3, 0.3, count) if ragged else 0)) / count
    radius = rng.uniform(*_STAIN_RADIUS) * (rng.uniform(0.55, 1.3, count) if ragged else np.ones(count))
    stretch = rng.uniform(0.6, 1.0)
    polygon = np.tile(center, (count, 1))
    polygon[:, u] += radius * np.cos(angle)
    polygon[:, v] += stretch * radius * np.sin(angle)
    for i in (u, v):
        polygon = _clipped(polygon, i, low[i], 1.0)
        polygon = _clipped(polygon, i, high[i], -1.0)
    return polygon


def _clipped(polygon: np.ndarray, axis: int, limit: float, sign: float) -> np.ndarray:
    """The part of a polygon with sign * (x[axis] - limit) >= 0 (Sutherland and Hodgman)."""
    kept = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside_a, inside_b = sign * (a[axis] - limit), sign * (b[axis] - limit)
        if inside_a >= 0:
            kept.append(a)
        if (inside_a >= 0) != (inside_b >= 0):
            kept.append(a + (b - a) * inside_a / (inside_a - inside_b))
    return np.array(kept).reshape(-1, 3)


def _stain_color(color: Color, rng: np.random.Generator) -> Color:
    if rng.random() < 0.5:
        shift = rng.uniform(*_NEAR_COLOR) * rng.choice([-1, 1])
        if not 0 <= np.mean(color) + shift <= 0.95:
            shift = -shift
        near = np.clip(np.array(color) + shift + rng.uniform(-0.03, 0.03, 3), 0, 0.95)
        return float(near[0]), float(near[1]), float(near[2])
    while True:
        far = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 1.0), rng.uniform(0.1, 0.95))
        if np.abs(np.array(far) - np.array(color)).max() > _FAR_COLOR:
            return far
