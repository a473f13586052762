"""What became of the photographs: on the terminal, and as a page with a map of the directions they were taken from."""

import base64
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jinja2 import Environment

from gaussian_splatting.images import encoded
from PAD_utils.files import write_bytes, write_text
from PAD_utils.photos.background import Background
from PAD_utils.photos.coverage import GAP_DEG, Facts, Gap, covered_share, find_gaps, sphere_picture, suggestions
from PAD_utils.photos.sfm import Solution

PAGE, MAP = "photos.html", "photos_coverage.png"
_log = logging.getLogger(__name__)

_TEMPLATE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ story.name }}: photographs</title>
<meta name="viewport" content="width=device-width"><style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1b1f24;background:#fff}
img{width:100%;border-radius:6px}td,th{padding:.2rem .9rem .2rem 0;text-align:left}th{border-bottom:1px solid #bbb}
td.n{text-align:right;font-variant-numeric:tabular-nums}.lost{color:#a11}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e3e6ea}.lost{color:#f88}}</style></head><body>
<h1>{{ story.name }}: photographs</h1>
<ul>{% for line in story.summary %}<li>{{ line }}</li>{% endfor %}</ul>
<h2>What to do</h2>
{% if story.advice %}<ol>{% for line in story.advice %}<li>{{ line }}</li>{% endfor %}</ol>
{% else %}<p>Nothing: the photographs cover what they should.</p>{% endif %}
<h2>Where from</h2>
<img alt="Map of the directions of the photographs" src="data:image/png;base64,{{ map }}">
<p>A map of the sphere about the part, azimuth to the right (-180 to 180 degrees), elevation upward (-90 to 90). Dots
are photographs, green is near one of them, a red ring is a gap worth a photograph.</p>
<h2>Photographs</h2>
<table><tr><th>name</th><th>reprojection error, px</th><th>points</th></tr>
{% for p in story.solution.posed %}<tr><td>{{ p.photo.source.name }}</td>
<td class="n">{{ "%.2f"|format(p.error_px) }}</td><td class="n">{{ p.n_points }}</td></tr>{% endfor %}
{% for name in story.solution.lost %}
<tr class="lost"><td>{{ name }}</td><td colspan="2">not registered</td></tr>{% endfor %}
</table></body></html>
"""


@dataclass(frozen=True)
class Story:
    """What the report tells of a class."""

    name: str
    facts: list[Facts]
    solution: Solution
    background: Background

    @cached_property
    def gaps(self) -> list[Gap]:
        """Directions worth a photograph."""
        return find_gaps(self.facts)

    @cached_property
    def covered(self) -> float:
        """The share of the sphere near a photograph."""
        return covered_share(np.stack([fact.direction for fact in self.facts]))

    @cached_property
    def advice(self) -> list[str]:
        """What to do, in words."""
        return [*self.background.complaints, *suggestions(self.facts, self.solution.lost, self.gaps)]

    @property
    def summary(self) -> list[str]:
        """The facts, one a line."""
        solution = self.solution
        total = len(solution.posed) + len(solution.lost)
        lens = solution.posed[0].lens
        view = f"field of view {np.degrees(lens.pinhole.camera_angle_x_rad):.1f} degrees"
        return [
            f"{len(solution.posed)} of {total} photographs registered ({solution.how})",
            f"mean reprojection error {solution.error_px:.2f} px",
            f"lens {lens.camera.model_name}, {view}; undistortion moves pixels by up to {lens.moves_px:.1f} px",
            f"{100 * self.covered:.0f} % of the sphere lies within {GAP_DEG:.0f} degrees of a photograph",
            f"background: {self.background.description}",
        ]


def write_report(root: Path, story: Story) -> None:
    """Says it on the terminal, and writes photos.html and photos_coverage.png into the class."""
    for line in story.summary:
        _log.info("%s", line)
    for line in story.advice:
        _log.info("to do: %s", line)
    png = encoded(".png", sphere_picture(story.facts, story.gaps))
    write_bytes(root / MAP, png)
    page = Environment(autoescape=True).from_string(_TEMPLATE)
    write_text(root / PAGE, page.render(story=story, map=base64.b64encode(png).decode()))
    _log.info("report: %s", PAGE)
