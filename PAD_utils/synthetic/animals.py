"""Animals of bricks, put together by a seed: body, legs, neck, head, ears or horns, tail, and marks on one side."""

from dataclasses import dataclass

import numpy as np

from PAD_utils.synthetic.shapes import BRICK_HEIGHT, PLATE_HEIGHT, Color, Part, brick, fitted, round_part, wedge

RADIUS = 0.68  # of the finished object, in world units: a third to a half of the frame, as in MAD-Sim


@dataclass(frozen=True)
class Palette:
    """Display colors (0..1): body, belly and feet, marks, eyes and nose."""

    main: Color
    second: Color
    accent: Color
    dark: Color
    mark: Color


PALETTES = {
    "colourful": Palette(
        (0.86, 0.33, 0.16), (0.96, 0.78, 0.25), (0.13, 0.45, 0.75), (0.1, 0.1, 0.12), (0.2, 0.62, 0.3)
    ),
    "dark": Palette((0.1, 0.1, 0.11), (0.2, 0.19, 0.2), (0.13, 0.11, 0.17), (0.05, 0.05, 0.06), (0.3, 0.12, 0.1)),
    "white": Palette((0.93, 0.93, 0.92), (0.86, 0.86, 0.86), (0.95, 0.9, 0.86), (0.15, 0.15, 0.16), (0.85, 0.66, 0.66)),
    "gray": Palette((0.55, 0.57, 0.6), (0.75, 0.76, 0.78), (0.38, 0.4, 0.44), (0.12, 0.12, 0.13), (0.8, 0.35, 0.3)),
    "low-contrast": Palette(
        (0.62, 0.57, 0.5), (0.67, 0.61, 0.54), (0.57, 0.53, 0.47), (0.42, 0.39, 0.35), (0.66, 0.57, 0.48)
    ),
}


@dataclass(frozen=True)
class Body:
    """Proportions in studs; heights in bricks."""

    length: int
    width: int
    height: int
    leg: int
    neck: int
    head: int
    biped: bool


def build_animal(seed: int, palette: Palette) -> list[Part]:
    """The parts of the animal of this seed, fitted into a ball of RADIUS about the origin."""
    rng = np.random.default_rng([seed, 0])
    biped = bool(rng.random() < 0.25)
    body = Body(
        length=int(rng.integers(3, 5) if biped else rng.integers(4, 7)),
        width=int(rng.integers(2, 4)),
        height=int(rng.integers(2, 4) if biped else rng.integers(1, 3)),
        leg=int(rng.integers(1, 3)),
        neck=int(rng.integers(0, 3)),
        head=int(rng.integers(2, 4)),
        biped=biped,
    )
    parts = [*_body(rng, body, palette), *_legs(rng, body, palette), *_head(rng, body, palette)]
    parts += [*_tail(rng, body, palette), *_marks(rng, body, palette)]
    return fitted(parts, RADIUS)


def _floor(body: Body) -> float:
    return body.leg * BRICK_HEIGHT


def _top(body: Body) -> float:
    return _floor(body) + body.height * BRICK_HEIGHT


def _body(rng: np.random.Generator, body: Body, palette: Palette) -> list[Part]:
    """Layers of bricks, their joints staggered; the lowest layer may be a belly of the second color."""
    parts = []
    belly = bool(rng.random() < 0.5) and body.height > 1
    for layer in range(body.height):
        x, z = 0, _floor(body) + layer * BRICK_HEIGHT
        while x < body.length:
            step = min(int(rng.integers(2, 4)) if x or layer % 2 == 0 else 1, body.length - x)
            color = palette.second if belly and layer == 0 else palette.main
            top = layer == body.height - 1
            size = (float(step), float(body.width), BRICK_HEIGHT)
            parts.append(brick(f"body_{layer}_{x}", (float(x), 0.0, z), size, color, studs=top))
            x += step
    return parts


def _legs(rng: np.random.Generator, body: Body, palette: Palette) -> list[Part]:
    """Two or four legs, each a stack with a foot; one of them may have another color."""
    xs = [body.length / 2 - 0.5] if body.biped else [0.0, body.length - 1.0]
    odd = int(rng.integers(0, 2 * len(xs)))
    is_round = bool(rng.random() < 0.35)
    long_feet = bool(body.biped or rng.random() < 0.3)
    parts = []
    for number, (x, y) in enumerate((x, y) for x in xs for y in (0.0, body.width - 1.0)):
        name = f"leg{number}"
        color = palette.accent if number == odd else palette.main
        for level in range(body.leg):
            z = level * BRICK_HEIGHT
            foot = level == 0
            part_name = f"{name}/foot" if foot and body.leg > 1 else name
            tint = palette.second if foot and number != odd else color
            if is_round and not foot:
                part = round_part(part_name, (x + 0.5, y + 0.5, z), "+z", 0.46, BRICK_HEIGHT, tint)
            else:
                size = (1.7 if foot and long_feet else 1.0, 1.0, BRICK_HEIGHT)
                part = brick(part_name, (x, y, z), size, tint, studs=False, loose=True)
            parts.append(part)
    return parts


def _head(rng: np.random.Generator, body: Body, palette: Palette) -> list[Part]:
    """Neck, head, snout or beak, nose, eyes, and ears or a horn."""
    n = body.head
    x, z = body.length - (1.0 if body.neck else n / 2), _top(body)
    y = (body.width - n) / 2
    parts = []
    for level in range(body.neck):
        tint = palette.accent if level == 0 and rng.random() < 0.5 else palette.main
        parts.append(brick(f"neck{level}", (x, body.width / 2 - 0.75, z), (1.5, 1.5, BRICK_HEIGHT), tint, studs=False))
        z += BRICK_HEIGHT
    depth, height = float(n), BRICK_HEIGHT * (2 if n == 3 or rng.random() < 0.4 else 1.5)
    parts.append(brick("head", (x, y, z), (depth, float(n), height), palette.main))
    front, middle = x + depth, y + n / 2
    parts += _face(rng, (front, middle, z), n, height, palette)
    parts += _ears(rng, (x, y, z + height), n, palette)
    return parts


def _face(
    rng: np.random.Generator, at: tuple[float, float, float], n: int, height: float, palette: Palette
) -> list[Part]:
    front, middle, z = at
    wide = 1.0 if n == 2 else 1.6
    if rng.random() < 0.3:
        low, size = (front, middle - wide / 2, z + 0.25 * height), (1.3, wide, 0.45 * height)
        parts = [wedge("head/beak", low, size, palette.second, "+x")]
    else:
        length = float(rng.choice([0.8, 1.2, 1.7]))
        low, size = (front, middle - wide / 2, z + 0.05), (length, wide, 0.55 * height)
        parts = [brick("head/snout", low, size, palette.second, studs=False, loose=True)]
        nose = (front + length - 0.03, middle, z + 0.42 * height)
        parts.append(round_part("head/snout/nose", nose, "+x", 0.26, 0.22, palette.dark))
    for side, sign in (("left", 1), ("right", -1)):
        eye = (front - 0.03, middle + sign * 0.33 * n, z + 0.76 * height)
        parts.append(round_part(f"head/eye_{side}", eye, "+x", 0.2, 0.14, palette.dark))
    return parts


def _ears(rng: np.random.Generator, at: tuple[float, float, float], n: int, palette: Palette) -> list[Part]:
    x, y, z = at
    kind = rng.choice(["pointed", "hanging", "horn", "round"])
    back = x + 0.15 * n
    if kind == "horn":
        parts = [round_part("head/horn", (x + 0.6 * n, y + n / 2, z - 0.05), "+z", 0.36, 1.5, palette.accent, tip=0.15)]
        for side, dy in (("left", n - 0.6), ("right", 0.1)):
            parts.append(wedge(f"head/ear_{side}", (back, y + dy, z), (0.6, 0.5, 0.9), palette.second, "-x"))
        return parts
    parts = []
    for side, left in (("left", True), ("right", False)):
        name = f"head/ear_{side}"
        if kind == "pointed":
            low = (back, y + (n - 0.75 if left else 0.0), z)
            parts.append(wedge(name, low, (0.7, 0.75, 1.2), palette.accent, "-y" if left else "+y"))
        elif kind == "hanging":
            low = (back, y + (n if left else -0.4), z - 1.7)
            parts.append(brick(name, low, (1.0, 0.4, 1.7), palette.accent, studs=False, loose=True))
        else:
            base = (back + 0.2, y + (n - 0.4 if left else 0.4), z + 0.35)
            parts.append(round_part(name, base, "+x", 0.5, 0.35, palette.accent))
    return parts


def _tail(rng: np.random.Generator, body: Body, palette: Palette) -> list[Part]:
    """A chain of small bricks that climbs or falls, with a tip of another color."""
    count = int(rng.integers(1, 4))
    climb = float(rng.choice([-0.25, 0.3, 0.55]))
    x, z, name = 0.0, _top(body) - 1.0, ""
    parts = []
    for number in range(count):
        name = f"{name}/tail{number}" if name else f"tail{number}"
        x -= 0.85
        tint = palette.second if number == count - 1 else palette.main
        low = (x, body.width / 2 - 0.4, z)
        if number == count - 1 and rng.random() < 0.5:
            parts.append(wedge(name, low, (0.85, 0.8, 0.85), tint, "-x"))
        else:
            parts.append(brick(name, low, (0.85, 0.8, 0.75), tint, studs=False, loose=True))
        z += climb
    return parts


def _marks(rng: np.random.Generator, body: Body, palette: Palette) -> list[Part]:
    """What makes left and right differ: tiles on one flank, and spikes or a saddle on the back."""
    parts = []
    top = _top(body)
    for number in range(int(rng.integers(1, 4))):
        left = rng.random() < 0.75
        x = float(rng.uniform(0.3, body.length - 1.3))
        z = float(rng.uniform(_floor(body) + 0.15, top - 0.85))
        low = (x, body.width - 0.03 if left else -0.19, z)
        parts.append(brick(f"tile{number}", low, (0.95, 0.22, 0.7), palette.mark, studs=False, loose=True))
    free = body.length - 2 if body.neck else body.length - body.head // 2 - 1
    if rng.random() < 0.5:
        for number in range(0, max(1, int(free)), 1 if rng.random() < 0.5 else 2):
            low = (number + 0.1, body.width / 2 - 0.3, top)
            parts.append(wedge(f"spike{number}", low, (0.8, 0.6, 0.85), palette.accent, "-x"))
    else:
        at = float(rng.integers(0, max(1, int(free))))
        size = (1.0, float(body.width), PLATE_HEIGHT)
        parts.append(brick("saddle", (at, 0.0, top), size, palette.accent, loose=True))
        bag = (at + 0.05, body.width - 0.02, top - 0.8)
        parts.append(brick("saddle/bag", bag, (0.9, 0.5, 1.1), palette.mark, studs=False, loose=True))
    return parts
