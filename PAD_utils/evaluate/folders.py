"""Which score maps a folder holds, of whatever method, and which masks go with them: the layout of MVTec AD."""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from PAD_utils.data.layout import is_good
from PAD_utils.data.listing import folded, is_foreign, list_pictures, natural_key, subfolders
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import ImageRow, read_table

_MAP_SUFFIXES = (".tiff", ".tif")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MapFile:
    """A score map on disk and the mask that goes with it (None for a good image)."""

    defect: str
    name: str
    path: Path
    mask: Path | None

    @property
    def label(self) -> int:
        """0 for good, 1 for defective."""
        return int(not is_good(self.defect))


def list_maps(maps_dir: Path, ground_truth_dir: Path) -> list[MapFile]:
    """The maps `<defect>/<name>.tiff` in natural order, each with its mask: `<name>_mask` or `<name>`, any format.

    What is no map is named in one warning. Raises UserError naming the file: a map without mask, a mask without map,
    two maps or masks of one name.
    """
    for folder in (maps_dir, ground_truth_dir):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; give the folder that holds one folder per kind of defect")
    files: list[MapFile] = []
    for defect in subfolders(maps_dir):
        masks = {} if is_good(defect) else _masks_of(ground_truth_dir, defect)
        for name, path in _by_name(_map_paths(maps_dir / defect), defect).items():
            mask = None if is_good(defect) else masks.get(name) or masks.get(folded(name))
            if mask is None and not is_good(defect):
                expected = ground_truth_dir / defect / f"{path.stem}_mask.png"
                raise UserError(f"{expected} is missing; add the mask of {path} or remove that map")
            files.append(MapFile(defect, path.stem, path, mask))
    if not files:
        raise UserError(f"{maps_dir} holds no maps; expected <defect>/<name>.tiff")
    _check_masks(files, maps_dir, ground_truth_dir)
    _name_left_out(maps_dir, files)
    return files


def table_scores(table: Path, files: Sequence[MapFile]) -> list[float]:
    """The image scores of the maps out of an images.csv. Raises UserError naming the row: missing, twice, without a
    map, or with a label that its folder contradicts."""
    rows: dict[str, ImageRow] = {}
    for row in read_table(table):
        key = _key(row.defect, row.name)
        if key in rows:
            raise UserError(f"{table} has {row.defect}/{row.name} twice; remove one row")
        rows[key] = row
    found = []
    for file in files:
        known = rows.pop(_key(file.defect, file.name), None)
        if known is None or known.score is None or not np.isfinite(known.score):
            raise UserError(f"{table} has no score for {file.defect}/{file.name}; add it or remove the map {file.path}")
        if known.label not in (None, file.label):
            raise UserError(f"{table} labels {file.defect}/{file.name} {known.label}, its folder {file.label}; mend it")
        found.append(known.score)
    for row in rows.values():
        raise UserError(f"{table} has a score for {row.defect}/{row.name} and there is no map of it; remove the row")
    return found


def _key(defect: str, name: str) -> str:
    return unicodedata.normalize("NFC", f"{defect}/{name}")


def _map_paths(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.suffix.lower() in _MAP_SUFFIXES and p.is_file() and not is_foreign(p))
    return sorted(found, key=lambda path: natural_key(path.name))


def _by_name(paths: Sequence[Path], defect: str) -> dict[str, Path]:
    """The files by their names without extension and "_mask", accents written in one way."""
    named: dict[str, Path] = {}
    for path in paths:
        name = unicodedata.normalize("NFC", path.stem)
        if (other := named.setdefault(name, path)) is not path:
            raise UserError(f"{other} and {path} both go by the name {defect}/{name}; remove one")
    return named


def _masks_of(ground_truth_dir: Path, defect: str) -> dict[str, Path]:
    """The masks of a kind of defect by name; also by their names without capitals, where no other has that name."""
    folder = next((name for name in subfolders(ground_truth_dir) if folded(name) == folded(defect)), defect)
    named: dict[str, Path] = {}
    for path in list_pictures(ground_truth_dir / folder):
        name = unicodedata.normalize("NFC", path.stem.removesuffix("_mask"))
        if (other := named.setdefault(name, path)) is not path:
            raise UserError(f"{other} and {path} both go by the name {defect}/{name}; remove one")
    return {folded(name): path for name, path in named.items()} | named


def _check_masks(files: Sequence[MapFile], maps_dir: Path, ground_truth_dir: Path) -> None:
    """Raises UserError for a mask that two maps share, or that has no map."""
    used: dict[Path, Path] = {}
    for file in files:
        if file.mask and (other := used.setdefault(file.mask, file.path)) is not file.path:
            raise UserError(f"{file.mask} would be the mask of {other} and of {file.path}; name it as its map")
    for defect in subfolders(ground_truth_dir):
        for mask in [] if is_good(defect) else list_pictures(ground_truth_dir / defect):
            if mask not in used:
                name = mask.stem.removesuffix("_mask")
                raise UserError(f"{maps_dir / defect / name}.tiff is missing, but its mask {mask} is there")


def _name_left_out(maps_dir: Path, files: Sequence[MapFile]) -> None:
    known = {file.path for file in files} | {file.path.parent for file in files}
    left = sorted(str(p.relative_to(maps_dir)) for p in maps_dir.rglob("*") if p not in known)
    left = [name for name in left if not any(is_foreign(Path(part)) for part in Path(name).parts)]
    if left:
        _log.warning("%s: not used, for it is no <defect>/<name>.tiff: %s", maps_dir, ", ".join(left[:8]))
