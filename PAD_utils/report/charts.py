"""The geometry of a report's charts and globe, in the units of their SVG; the page template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 52  # margins that hold the ticks and the names of the axes
_BINS = 36
_HEADROOM = 1.14  # above the tallest bar, for the name of the threshold
_HEAVY_TAIL = 6  # the highest score over the median from which on a linear axis shows nothing but the highest


@dataclass(frozen=True)
class Line:
    """A curve: its CSS class, its name and figure for the legend, and the `d` of its path."""

    css: str
    name: str
    figure: str
    path: str


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, with the text that a pointer resting on it shows."""

    css: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """A chart ready to be drawn; a tick is a place along its axis and a text."""

    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # CSS class, name
    threshold: tuple[float, str] | None = None
    point: tuple[float, float, str] | None = None  # x, y, name: where on the curve the decisions are


def curve_chart(
    curves: Sequence[tuple[str, str, str, dict]],
    x_label: str,
    y_label: str,
    x_max: float,
    point: tuple[float, float, str] | None = None,
) -> Chart:
    """Curves given as (CSS class, name, figure, {"x", "y"}) over [0, x_max] x [0, 1], and a point (x, y, name)."""
    lines = []
    for css, name, figure, curve in curves:
        points = zip(_across(np.array(curve["x"]) / x_max), _up(np.array(curve["y"])), strict=True)
        lines.append(Line(css, name, figure, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)))
    x_ticks = [(_across(t / x_max), f"{t:g}") for t in nice_ticks(0.0, x_max, 5)]
    y_ticks = [(_up(t), f"{t:g}") for t in nice_ticks(0.0, 1.0, 5)]
    at = None if point is None else (_across(point[0] / x_max), _up(point[1]), point[2])
    return Chart(x_label, y_label, x_ticks, y_ticks, lines, point=at)


def histogram_chart(groups: Sequence[tuple[str, str, ArrayLike]], threshold: float | None) -> Chart | None:
    """How many images have which score; groups are (CSS class, name, scores), stacked. None without scores."""
    every = np.concatenate([np.asarray(scores, np.float64) for _, _, scores in groups])
    if not every.size:
        return None
    axis = ScoreAxis.of(every, threshold)
    edges = np.linspace(0, 1, _BINS + 1)
    counts = [
        np.histogram(np.clip(axis.share(np.asarray(scores, np.float64)), 0, 1), edges)[0] for *_, scores in groups
    ]
    tallest = max(1, int(np.sum(counts, axis=0).max()))
    full = tallest * _HEADROOM
    bars, base = [], np.zeros(_BINS)
    for (css, name, _), heights in zip(groups, counts, strict=True):
        for i in np.flatnonzero(heights):
            x0, x1, y0, y1 = (
                _across(edges[i]),
                _across(edges[i + 1]),
                _up(base[i] / full),
                _up((base[i] + heights[i]) / full),
            )
            title = f"{heights[i]} {name}: {short(axis.score(edges[i]))} to {short(axis.score(edges[i + 1]))}"
            bars.append(Bar(css, x0 + 0.5, y1, x1 - x0 - 1, y0 - y1, title))
        base += heights
    at = None if threshold is None else (_across(axis.share(threshold)), f"threshold {short(threshold)}")
    x_ticks = [(_across(axis.share(t)), short(t)) for t in axis.ticks()]
    y_ticks = [(_up(t / full), f"{t:g}") for t in nice_ticks(0.0, float(tallest), 4) if t == int(t)]
    x_label = "image score" + (" (logarithmic)" if axis.log else "")
    return Chart(x_label, "images", x_ticks, y_ticks, bars=bars, legend=[(c, n) for c, n, _ in groups], threshold=at)


def bar_chart(groups: Sequence[tuple[str, str, Sequence[float | None]]], names: Sequence[str], y_label: str) -> Chart:
    """Shares in [0, 1] side by side for each name: groups are (CSS class, name, a value for each of `names` or None).

    The axis begins below the lowest value: differences matter, not lengths.
    """
    known = [value for *_, values in groups for value in values if value is not None]
    low = math.floor(10 * min(known, default=0.0) - 0.5) / 10 if known else 0.0
    low = max(0.0, min(low, 0.9))
    slot = 1 / max(1, len(names))
    wide, bars = 0.8 * slot / max(1, len(groups)), []
    for g, (css, group, values) in enumerate(groups):
        for i, value in enumerate(values):
            if value is not None:
                x0, x1 = (_across((i + 0.1) * slot + (g + k) * wide) for k in (0, 1))
                top, base = _up((value - low) / (1 - low)), _up(0.0)
                bars.append(Bar(css, x0, top, x1 - x0, base - top, f"{names[i]}, {group}: {100 * value:.1f} %"))
    x_ticks = [(_across((i + 0.5) * slot), name) for i, name in enumerate(names)]
    y_ticks = [(_up((t - low) / (1 - low)), f"{t:g}") for t in nice_ticks(low, 1.0, 5)]
    return Chart("", y_label, x_ticks, y_ticks, bars=bars, legend=[(css, name) for css, name, _ in groups])


@dataclass(frozen=True)
class ScoreAxis:
    """An axis that shows all scores and the threshold; logarithmic where a few large ones would press the rest flat."""

    low: float
    high: float
    log: bool

    @staticmethod
    def of(scores: ArrayLike, threshold: float | None) -> "ScoreAxis":
        """The axis of these scores; without any, from 0 to 1."""
        values = np.concatenate((np.asarray(scores, np.float64), [] if threshold is None else [threshold]))
        if not values.size:
            return ScoreAxis(0.0, 1.0, False)
        low, high = float(values.min()), float(values.max())
        if low > 0 and high > _HEAVY_TAIL * float(np.median(values)):
            return ScoreAxis(low / 1.1, high * 1.1, True)
        low = 0.0 if 0 <= low < 0.3 * high else low
        return ScoreAxis(low, high, False) if high > low else ScoreAxis(low - 0.5, high + 0.5, False)

    def share(self, score: Any) -> Any:
        """Where a score (a number or an array) lies, 0 at the low end and 1 at the high one."""
        if self.log:
            return np.log(score / self.low) / math.log(self.high / self.low)
        return (score - self.low) / (self.high - self.low)

    def score(self, share: float) -> float:
        """The score at a share of the axis."""
        return self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)

    def ticks(self) -> list[float]:
        """A few round scores."""
        if not self.log:
            return nice_ticks(self.low, self.high, 5)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 3 else (1,)
        ticks = [float(f"{m}e{d}") for d in decades for m in steps]
        return [t for t in ticks if self.low <= t <= self.high]


def directions(poses: Sequence[ArrayLike | None]) -> list[list[float] | None]:
    """For each world_from_camera (4, 4) the unit vector from the world's origin, where the object stands, to it."""
    found: list[list[float] | None] = []
    for pose in poses:
        center = None if pose is None else np.asarray(pose, np.float64)[:3, 3]
        length = 0.0 if center is None else float(np.linalg.norm(center))
        known = center is not None and math.isfinite(length) and length > 0
        found.append([round(float(v), 4) for v in center / length] if known and center is not None else None)
    return found


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from low to high; just low if there is nothing between."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def short(value: float) -> str:
    """A score with three digits that count."""
    return f"{value:.3g}"


def _across(share: Any) -> Any:
    """Where a share (a number or an array) of the x axis lies."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _up(share: Any) -> Any:
    """Where a share (a number or an array) of the y axis lies."""
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
