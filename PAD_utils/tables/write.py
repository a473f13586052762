"""From result folders to the files of the tables."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from PAD_utils.files import write_json, write_text
from PAD_utils.report.published import published
from PAD_utils.tables.collect import METRICS, Record, problems
from PAD_utils.tables.page import page
from PAD_utils.tables.summary import costs, summary
from PAD_utils.tables.table import NAMES, as_csv, latex, markdown, percent, tables

log = logging.getLogger(__name__)


def write_tables(output: Path, records: Sequence[Record]) -> None:
    """Writes tables.md, .tex, .csv, .json and .html into `output`, and prints the means."""
    settings, spent, lines = summary(records), costs(records), problems(records)
    found = tables(settings, spent)
    classes = {record.classname for record in records}
    title = f"{len(classes)} classes" if len(classes) > 1 else next(iter(classes))
    content = {"settings": settings, "problems": lines, "published": published(), "times": spent}
    write_json(output / "tables.json", content)
    write_text(output / "tables.md", markdown(found, lines))
    write_text(output / "tables.tex", latex(found, lines))
    write_text(output / "tables.csv", as_csv(settings))
    write_text(output / "tables.html", page(title, settings, found, lines))
    for setting in settings:
        means: Mapping = setting["mean"]
        shown = ", ".join(f"{NAMES[metric]} {percent(means[metric])}" for metric in METRICS)
        print(f"{setting['method']}, {100 * setting['share']:g} % of the views: {shown}")
    print(f"tables: {output / 'tables.html'}, .md, .tex, .csv, .json")
