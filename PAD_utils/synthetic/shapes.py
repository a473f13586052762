"""Brick parts as triangle meshes. Lengths are in stud pitches: a brick is 1.2 high; x is forward, y left, z up."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

Color = tuple[float, float, float]
Point = tuple[float, float, float]
Points = Float[np.ndarray, "_ 3"]
Triangles = Int[np.ndarray, "_ 3"]

BRICK_HEIGHT = 1.2
PLATE_HEIGHT = 0.4
_STUD_RADIUS, _STUD_HEIGHT = 0.3, 0.18
_GAP = 0.025  # bricks are this much smaller on each side, so that joints show as thin dark lines
_SIDES = 24  # of a round part


@dataclass(frozen=True)
class Part:
    """One brick. `name` is a path: what hangs on "head" is called "head/...". `loose` parts may be missing."""

    name: str
    vertices: Points
    faces: Triangles
    color: Color
    low: Point  # the box without studs: edges and faces for burrs and stains
    high: Point
    loose: bool = False
    boxy: bool = True


@dataclass(frozen=True)
class Mesh:
    """A colored triangle mesh; one color (0..1) per triangle."""

    vertices: Points
    faces: Triangles
    colors: Float[np.ndarray, "_ 3"]


def brick(name: str, low: Point, size: Point, color: Color, studs: bool = True, loose: bool = False) -> Part:
    """A box of size[0] x size[1] studs and the height size[2], its corner at `low`."""
    a = np.array(low) + _GAP
    b = np.array(low) + np.array(size) - _GAP
    meshes = [_box(a, b)]
    if studs:
        for i in range(int(size[0] + 1e-6)):
            for j in range(int(size[1] + 1e-6)):
                center = np.array([low[0] + i + 0.5, low[1] + j + 0.5, b[2]])
                meshes.append(_prism(center, 2, _STUD_RADIUS, _STUD_RADIUS, _STUD_HEIGHT, 14))
    return _part(name, meshes, color, a, b, loose)


def wedge(name: str, low: Point, size: Point, color: Color, down: str, loose: bool = True) -> Part:
    """A slope filling the box; its top edge lies on the side opposite to `down` ("+x", "-x", "+y" or "-y")."""
    a, b = np.array(low) + _GAP, np.array(low) + np.array(size) - _GAP
    axis, positive = "xy".index(down[1]), down[0] == "+"
    vertices, faces = _box(a, b)
    falls = (vertices[:, axis] == (b if positive else a)[axis]) & (vertices[:, 2] == b[2])
    vertices[falls, 2] = a[2] + 0.15 * (b[2] - a[2])
    return replace(_part(name, [(vertices, faces)], color, a, b, loose), boxy=False)


def round_part(
    name: str, base: Point, axis: str, radius: float, length: float, color: Color, tip: float = 1.0, loose: bool = True
) -> Part:
    """A cylinder or cone (`tip`: radius of its end over that of its base) from `base` along "+x", "-y" and so on."""
    number = "xyz".index(axis[1])
    mesh = _prism(np.array(base), number, radius, tip * radius, length if axis[0] == "+" else -length, _SIDES)
    vertices = mesh[0]
    return replace(_part(name, [mesh], color, vertices.min(0), vertices.max(0), loose), boxy=False)


def merge(parts: Sequence[Part]) -> Mesh:
    """One mesh of many parts."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts])
    faces = np.concatenate([p.faces + offset for p, offset in zip(parts, offsets[:-1], strict=True)])
    colors = np.concatenate([np.tile(np.array(p.color), (len(p.faces), 1)) for p in parts])
    return Mesh(np.concatenate([p.vertices for p in parts]), faces, colors)


def fitted(parts: Sequence[Part], radius: float) -> list[Part]:
    """The parts moved and scaled together so that they fit into a ball of `radius` about the origin."""
    vertices = np.concatenate([p.vertices for p in parts])
    center = (vertices.min(0) + vertices.max(0)) / 2
    scale = radius / np.linalg.norm(vertices - center, axis=1).max()

    def place(point: np.ndarray | Point) -> np.ndarray:
        return (np.asarray(point) - center) * scale

    return [replace(p, vertices=place(p.vertices), low=_point(place(p.low)), high=_point(place(p.high))) for p in parts]


def _point(values: np.ndarray) -> Point:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _part(
    name: str, meshes: list[tuple[Points, Triangles]], color: Color, low: np.ndarray, high: np.ndarray, loose: bool
) -> Part:
    offsets = np.cumsum([0] + [len(v) for v, _ in meshes])
    faces = np.concatenate([f + offset for (_, f), offset in zip(meshes, offsets[:-1], strict=True)])
    return Part(name, np.concatenate([v for v, _ in meshes]), faces, color, _point(low), _point(high), loose)


def _box(low: np.ndarray, high: np.ndarray) -> tuple[Points, Triangles]:
    vertices = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def _prism(
    base: np.ndarray, axis: int, radius: float, end_radius: float, length: float, sides: int
) -> tuple[Points, Triangles]:
    """A closed n-gon prism or cone along a coordinate axis."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.zeros((sides, 3))
    ring[:, (axis + 1) % 3], ring[:, (axis + 2) % 3] = np.cos(angle), np.sin(angle)
    along = np.zeros(3)
    along[axis] = length
    vertices = np.concatenate([base + radius * ring, base + along + end_radius * ring, [base], [base + along]])
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    bottom, top = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = [(i, j, j + sides), (i, j + sides, i + sides), (j, i, bottom), (i + sides, j + sides, top)]
    triangles = np.concatenate([np.stack(f, 1) for f in faces])
    return vertices, triangles if length > 0 else triangles[:, ::-1]
