"""The history as a table for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

COLUMNS = ("number", "id", "at", "source", "class", "names", "decision", "score", "threshold", "label")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def as_csv(parts: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of CSV, the header first; numbers read back to the same float."""
    yield _line(COLUMNS)
    for part in parts:
        names = ";".join(photograph["name"] for photograph in part["photographs"])
        yield _line([_harmless(part | {"names": names}, column) for column in COLUMNS])


def _harmless(part: dict[str, Any], column: str) -> Any:
    """A value; text that begins like a formula, as the name of a file may, is quoted."""
    value = part[column]
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
