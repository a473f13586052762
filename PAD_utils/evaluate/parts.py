"""parts.csv: what was decided of parts of which there are several photographs."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from PAD_utils.files import write_text


@dataclass(frozen=True)
class PartRow:
    """A row of parts.csv; None is an empty cell."""

    part: str
    photographs: int  # that were judged
    localized: int  # of them; the others have no say
    score: float | None
    threshold: float | None  # of parts of as many localized photographs
    decision: str | None  # OK, DEFECT or NOT LOCALISED, None without a threshold


def write_parts(path: Path, parts: Sequence[PartRow]) -> None:
    """Writes parts.csv, atomically: the fields of `PartRow`, numbers that read back to the same value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(PartRow)])
    writer.writerows(asdict(part).values() for part in parts)
    write_text(path, text.getvalue())
