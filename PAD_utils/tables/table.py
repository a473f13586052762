"""The tables in words and figures, and their Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PAD_utils.report.published import published
from PAD_utils.tables.collect import METRICS
from PAD_utils.tables.summary import STAGES, Figure

NAMES = {"image_auroc": "Image AUROC", "pixel_auroc": "Pixel AUROC", "aupro": "AUPRO"}
MISSING = "missing"
NONE = "–"
_TEX = {c: rf"\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "<": r"$<$", ">": r"$>$", "|": r"$|$"}


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the rows. `note` says what the figures are."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tables(settings: Sequence[dict[str, Any]], spent: Sequence[dict[str, Any]]) -> list[Table]:
    """All tables: three of detection, the sparse-view one where shares differ, times, poses, sources."""
    found = [_detection(settings, metric) for metric in METRICS]
    if any(setting["share"] < 1 for setting in settings):
        found.append(_sparse(settings))
    return [*found, _times(spent), _poses(settings), _sources()]


def percent(value: Figure | None, of_problem: str | None = None) -> str:
    """`96.1 ± 0.4`, in percent; what is missing says so; `(2 of 3)` where not all seeds are there."""
    if value is None or value.get("mean") is None:
        return of_problem or MISSING
    text = f"{100 * value['mean']:.1f}"
    if value.get("std") is not None:
        text += f" ± {100 * value['std']:.1f}"
    return text if value.get("n") == value.get("of") else f"{text} ({value['n']} of {value['of']})"


def _detection(settings: Sequence[dict[str, Any]], metric: str) -> Table:
    """Classes down, methods across: ours, then those published."""
    whole = [setting for setting in settings if setting["share"] == 1]
    others = published()["detection"]
    names = list(dict.fromkeys(name for setting in whole for name in setting["classes"]))
    rows = [("mean", *(percent(s["mean"][metric]) for s in whole), *(_plain(o[metric]) for o in others))]
    for name in names:
        ours = [_cell(setting["classes"].get(name), metric) for setting in whole]
        theirs = [o["classes"].get(name, {}).get(metric) for o in others]
        rows.append((name, *ours, *(NONE if figure is None else percent(figure) for figure in theirs)))
    header = ("class", *(_title(setting) for setting in whole), *(other["method"] for other in others))
    note = "percent, mean ± standard deviation over seeds; the row of means: over the classes that are there"
    return Table(NAMES[metric], header, rows, note)


def _cell(found: dict[str, Any] | None, metric: str) -> str:
    """A figure, or whether its run failed or is not there."""
    if found is None:
        return MISSING
    return percent(found[metric], "failed" if found["failed"] else MISSING)


def _sparse(settings: Sequence[dict[str, Any]]) -> Table:
    """Image AUROC against the share of the training views."""
    shares = sorted({setting["share"] for setting in settings} | {0.1, 0.2})
    methods = dict.fromkeys(setting["method"] for setting in settings)
    of = {(setting["method"], setting["share"]): setting for setting in settings}
    rows = []
    for method in methods:
        ours = [of.get((method, share)) for share in shares]
        rows.append((method, *(NONE if s is None else percent(s["mean"]["image_auroc"]) for s in ours)))
    for other in published()["sparse"]:
        points = {share: value for share, value in other["points"]}
        rows.append((f"{other['method']} ({other['source']})", *(_plain(points.get(share)) for share in shares)))
    header = ("method", *(f"{100 * share:g} % of the views" for share in shares))
    return Table("Image AUROC from few views", header, rows, "percent, mean over the classes")


def _times(spent: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for entry in spent:
        seconds = (_seconds(entry["seconds"][stage]["mean"]) for stage in STAGES)
        memory = entry["peak_memory_bytes"]
        rows.append((entry["method"], *seconds, f"{memory / 1e9:.1f} GB" if memory else NONE))
    for other in published()["times"]:
        about = f"{other['method']} ({other['device']}; {other['source']})"
        rows.append(
            (about, _seconds(other["train"]), *(NONE,) * 2, f"all stages {_seconds(other['per_image'])}", NONE, NONE)
        )
    header = ("method", "training", "retrieve", "refine", "score", "whole run", "memory at most")
    return Table("Times", header, rows, "of a class; retrieval, refinement and score per picture, means over the runs")


def _poses(settings: Sequence[dict[str, Any]]) -> Table:
    """How many pictures were localized, and how well where the true poses are known."""
    rows = []
    for setting in settings:
        lost, pictures, poses = setting["not_localised"], setting["pictures"], setting["poses"]
        found = NONE if lost is None else f"{pictures - lost} of {pictures}"
        turn, shift, area = (
            (poses or {}).get("rotation_deg"),
            (poses or {}).get("translation"),
            (poses or {}).get("auc_deg"),
        )
        errors = (_number(turn and turn["median"]), _number(shift and shift["median"]), _areas(area))
        rows.append((_title(setting), found, *errors))
    rows += [(f"{o['method']} ({o['source']})", NONE, NONE, NONE, _areas(o["auc_deg"])) for o in published()["poses"]]
    header = ("method", "localized", "rotation, median degrees", "shift, median units", "AUC at 5/10/20 degrees")
    return Table(
        "Poses", header, rows, "errors where the class ships the true poses of its test pictures; MAD-Sim does not"
    )


def _sources() -> Table:
    rows = [(other["method"], other["source"], other["caution"]) for other in published()["detection"]]
    return Table("Where the published figures come from", ("method", "source", "caution"), rows)


def markdown(found: Sequence[Table], problems: Sequence[str]) -> str:
    """The tables, then what is missing and why, then what is not comparable."""
    parts = ["# Tables"]
    for table in found:
        lines = [table.header, ("---",) * len(table.header), *table.rows]
        cells = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
        parts.append("\n".join([f"## {table.title}", "", *cells, *(("", table.note) if table.note else ())]))
    for title, items in (("Missing, and why", problems), ("What is not comparable", published()["cautions"])):
        if items:
            parts.append("\n".join([f"## {title}", "", *(f"- {item}" for item in items)]))
    return "\n\n".join(parts) + "\n"


def latex(found: Sequence[Table], problems: Sequence[str]) -> str:
    r"""The same for \input into a document; needs no package."""
    parts = []
    for table in found:
        lines = [" & ".join(map(_tex, line)) + r" \\" for line in (table.header, *table.rows)]
        columns = "l" * len(table.header)
        if table.header[-1] == "caution":
            columns = r"lp{0.3\linewidth}p{0.4\linewidth}"
        body = "\n".join([lines[0], r"\hline", *lines[1:]])
        note = f": {_tex(table.note)}" if table.note else ""
        parts.append(
            "\\begin{table}\n\\centering\\scriptsize\n"
            f"\\caption{{{_tex(table.title)}{note}}}\n"
            f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}"
        )
    for title, reasons in (("Missing", problems), ("Not comparable", published()["cautions"])):
        if reasons:
            items = "\n".join(rf"\item {_tex(reason)}" for reason in reasons)
            parts.append(f"\\paragraph{{{title}}}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    return "\n\n".join(parts) + "\n"


def as_csv(settings: Sequence[dict[str, Any]]) -> str:
    """One row for each method, share, class and metric, ours and published; shares in [0, 1], empty where missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "share", "class", "metric", "mean", "std", "n", "of", "source"))
    for setting in settings:
        for name, figures in (("mean", setting["mean"]), *setting["classes"].items()):
            for metric in METRICS:
                values = figures[metric]
                cells = (values["mean"], values["std"], values["n"], values["of"])
                writer.writerow((setting["method"], setting["share"], name, metric, *cells, "measured"))
    for other in published()["detection"]:
        means = {metric: {"mean": other[metric]} for metric in METRICS}
        for name, figures in (("mean", means), *other["classes"].items()):
            for metric in METRICS:
                if (values := figures.get(metric, {})).get("mean") is not None:
                    cells = (values["mean"], values.get("std"), None, None)
                    writer.writerow((other["method"], 1.0, name, metric, *cells, other["source"]))
    return text.getvalue()


def _title(setting: dict[str, Any]) -> str:
    """A method in the head of a table."""
    features = f" ({', '.join(setting['features'])})" if setting["features"] else ""
    views = "" if setting["share"] == 1 else f", {100 * setting['share']:g} % of the views"
    return f"{setting['method']}{features}{views}"


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"


def _areas(area: dict[str, float] | None) -> str:
    return NONE if area is None else "/".join(f"{100 * area[limit]:.1f}" for limit in ("5", "10", "20"))


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _tex(text: str) -> str:
    return re.sub(r"[&%$#_{}~^\\±–<>|]", lambda match: _TEX[match[0]], text)
