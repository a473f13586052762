"""tables.html: the tables and their charts in one file that opens offline."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from PAD_utils.report.charts import Chart, bar_chart, curve_chart
from PAD_utils.report.published import published
from PAD_utils.report.report import page_template
from PAD_utils.tables.table import Table

_COLORS = tuple(f"s{i}" for i in range(10))  # CSS classes of tables.html
_KEY = "image_auroc"


def page(title: str, settings: Sequence[dict[str, Any]], found: Sequence[Table], problems: Sequence[str]) -> str:
    """The page as HTML."""
    context = {
        "title": title,
        "tables": found,
        "problems": problems,
        "cautions": published()["cautions"],
        "means": _means(settings),
        "classes": _classes(settings),
        "sparse": _sparse(settings),
    }
    return page_template("tables.html").render(context)


def _means(settings: Sequence[dict[str, Any]]) -> Chart:
    """The methods at all views, each a bar with a color of its own."""
    ours = [(s["method"], s["mean"][_KEY]["mean"]) for s in settings if s["share"] == 1]
    values = [*ours, *((other["method"], other[_KEY]) for other in published()["detection"])]
    colors = cycle(_COLORS)
    groups = [(next(colors), name, [value]) for name, value in values]
    return bar_chart(groups, [""], "image AUROC")


def _classes(settings: Sequence[dict[str, Any]]) -> Chart:
    """Each class of ours, beside SplatPose's as published."""
    whole = [setting for setting in settings if setting["share"] == 1]
    names = list(dict.fromkeys(name for setting in whole for name in setting["classes"]))
    colors = iter(cycle(_COLORS))
    groups: list[tuple[str, str, list[float | None]]] = []
    for setting in whole:
        figures = [setting["classes"].get(name, {}).get(_KEY, {}).get("mean") for name in names]
        groups.append((next(colors), setting["method"], figures))
    theirs = next(other for other in published()["detection"] if other["method"] == "SplatPose")["classes"]
    if set(theirs) & set(names):
        figures = [theirs.get(name, {}).get(_KEY, {}).get("mean") for name in names]
        groups.append((next(colors), "SplatPose, published", figures))
    chart = bar_chart(groups, names, "image AUROC")
    short = [(x, found[0] if (found := re.match(r"\d+", name)) else name[:6]) for x, name in chart.x_ticks]
    return replace(chart, x_ticks=short)  # the bars have the whole names


def _sparse(settings: Sequence[dict[str, Any]]) -> Chart | None:
    """Curves over the share of the views; None where all runs had all views."""
    if all(setting["share"] == 1 for setting in settings):
        return None
    curves: dict[str, list[tuple[float, float]]] = {}
    for setting in settings:
        if setting["mean"][_KEY]["mean"] is not None:
            curves.setdefault(setting["method"], []).append((setting["share"], setting["mean"][_KEY]["mean"]))
    for other in published()["sparse"]:
        curves[f"{other['method']}, published"] = [(share, value) for share, value in other["points"]]
    lines = [
        (css, name, "", {"x": [x for x, _ in sorted(points)], "y": [y for _, y in sorted(points)]})
        for (name, points), css in zip(curves.items(), cycle(_COLORS))  # noqa: B905 (cycle has no end)
    ]
    return curve_chart(lines, "share of the training views", "image AUROC", 1.0)
