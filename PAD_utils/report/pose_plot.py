"""A recall curve as SVG: which share of the views lies within which rotation error, on a logarithmic axis."""

import math
from html import escape

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 40, 48
_FROM_DEG, _TO_DEG = 0.001, 180.0
_COLORS = ("#1b6ac9", "#c0392b", "#1e8449", "#8e44ad", "#b9770e", "#16a2a2")


def recall_plot(title: str, curves: dict[str, list[float]]) -> str:
    """An SVG with one step curve for each named list of rotation errors in degrees."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_axes(),
    ]
    for i, (name, errors) in enumerate(curves.items()):
        color, y = _COLORS[i % len(_COLORS)], _TOP + 18 * (i + 1)
        parts.append(f'<path d="{_steps(errors)}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT + 10}" y="{y}" fill="{color}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _x(error_deg: float) -> float:
    clipped = min(max(error_deg, _FROM_DEG), _TO_DEG)
    share = math.log(clipped / _FROM_DEG) / math.log(_TO_DEG / _FROM_DEG)
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _steps(errors: list[float]) -> str:
    """The path of the empirical distribution."""
    path = f"M{_x(_FROM_DEG):.1f} {_y(0.0):.1f}"
    for i, error in enumerate(sorted(errors)):
        path += f"H{_x(error):.1f}V{_y((i + 1) / len(errors)):.1f}"
    return path + f"H{_x(_TO_DEG):.1f}"


def _axes() -> list[str]:
    lines = []
    for error in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0):
        x = _x(error)
        lines.append(f'<path d="M{x:.1f} {_y(0.0):.1f}V{_y(1.0):.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{_y(0.0) + 18:.1f}" text-anchor="middle">{error:g}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        lines.append(f'<path d="M{_LEFT} {_y(share):.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{share:g}</text>')
    lines.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">rotation error in degrees</text>')
    return lines
