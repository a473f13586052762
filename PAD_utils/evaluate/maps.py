"""Score maps and the table of images as files, in the form that the evaluation of MVTec AD reads."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32

from gaussian_splatting.images import encoded
from PAD_utils.errors import UserError
from PAD_utils.files import read_bytes, write_bytes, write_text

MAPS_FOLDER = "anomaly_maps"
TABLE_COLUMNS = ("defect", "name", "label", "score", "decision", "seconds")
# Uncompressed strips of IEEE floats: what every TIFF reader reads without a codec of its own.
_PLAIN_TIFF = [cv2.IMWRITE_TIFF_COMPRESSION, 1]


@dataclass(frozen=True)
class ImageRow:
    """A row of images.csv; None is an empty cell."""

    defect: str
    name: str  # without extension
    label: int | None  # 0 good, 1 defective, None if not known
    score: float | None  # None if the image could not be scored
    decision: str | None  # OK, DEFECT or NOT LOCALISED, None without a threshold
    seconds: float

    @property
    def key(self) -> str:
        """As in poses.json."""
        return f"{self.defect}/{self.name}.png"


def map_path(folder: str | Path, defect: str, name: str) -> Path:
    """Where the map of a test image lies below the folder of maps."""
    return Path(folder) / defect / f"{name}.tiff"


def write_map(path: str | Path, scores: Float32[np.ndarray, "h w"]) -> None:
    """Writes a score map as a plain float32 gray TIFF, atomically.

    Raises ValueError, naming the file, if the map holds NaN or infinity; UserError if the place cannot be written to.
    """
    if not np.isfinite(scores).all():
        raise ValueError(f"{path}: not written, the score map holds NaN or infinity")
    write_bytes(path, encoded(".tiff", scores, _PLAIN_TIFF))


def read_map(path: str | Path) -> Float[np.ndarray, "h w"]:
    """A score map, from any gray TIFF, as float32 or, if stored so, float64.

    Raises UserError, naming the file, if it is not gray or holds NaN or infinity.
    """
    content = np.frombuffer(read_bytes(path), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None  # Pillow would round doubles
    if picture is None:
        raise UserError(f"{path}: not a complete picture; it is cut short or of another format; make it again")
    if picture.ndim != 2:
        raise UserError(
            f"{path} has {picture.shape[2]} channels; a score map must be a gray TIFF (one float per pixel)"
        )
    scores = picture.astype(np.float64 if picture.dtype == np.float64 else np.float32, copy=False)
    if not np.isfinite(scores).all():
        raise UserError(f"{path} holds NaN or infinity; write the map again with finite scores")
    return scores


def write_table(path: str | Path, rows: Sequence[ImageRow]) -> None:
    """Writes images.csv, atomically: the columns of `TABLE_COLUMNS`, numbers that read back to the same value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    writer.writerows([getattr(row, column) for column in TABLE_COLUMNS] for row in rows)
    write_text(path, text.getvalue())


def read_table(path: str | Path) -> list[ImageRow]:
    """Reads images.csv. Raises UserError, naming the file and the line, when a column is missing or no number."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read ({error}); give a table with the columns {_columns()}") from None
    reader = csv.DictReader(io.StringIO(text))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path} is no table ({error}); give one with the columns {_columns()}") from None
    missing = [c for c in TABLE_COLUMNS[:4] if c not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]}; it must have the columns {_columns()}")
    rows = []
    for number, row in lines:
        try:
            label, score, seconds = row["label"], row["score"], row.get("seconds")
            if label not in ("", "0", "1"):
                raise ValueError(f"label is {label!r}, not 0 or 1")
            rows.append(
                ImageRow(
                    row["defect"],
                    row["name"],
                    int(label) if label else None,
                    float(score) if score else None,
                    row.get("decision") or None,
                    float(seconds) if seconds else 0.0,
                )
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: {error}; mend the row") from None
    return rows


def _columns() -> str:
    return ", ".join(TABLE_COLUMNS)
