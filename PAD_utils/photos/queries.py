"""Photographs to judge, prepared as those of the class were: upright, shrunk, undistorted by the same lens."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import parallel
from PAD_utils.data.layout import GOOD, natural_key
from PAD_utils.files import read_json, write_bytes
from PAD_utils.photos.background import find_mask, mask_at_size
from PAD_utils.photos.cutout import cut_by_color, enlarged
from PAD_utils.photos.lens import Lens
from PAD_utils.photos.sfm import load_pycolmap
from PAD_utils.photos.source import SMALL_PX, find_photos, png_bytes, read_color

RECORD = "photos.json"
_SAME_SHAPE = 0.01  # of width over height
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    source: Path
    target: Path
    mask: Path | None = None
    mask_target: Path | None = None


def prepare_queries(root: Path, folder: Path, masks: Path | None) -> Path:
    """Prepares the photographs of `folder` with the lens of the class at `root`; where they went.

    Folders in it name kinds of defect (or "good"): they go to test/<kind>/, their `masks`/<kind>/ to ground_truth.
    Photographs without folders go to queries/, for --images. Raises UserError naming a file that is missing or broken.
    """
    rules = _Rules(root)
    kinds = (
        sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural_key(p.name))
        if folder.is_dir()
        else []
    )
    jobs = [job for kind in kinds for job in _kind_jobs(root, kind, masks)]
    target = root / "test" if kinds else root / "queries"
    if not kinds:
        jobs = [_Job(path, target / f"{path.stem}.png") for path in find_photos(folder)]
    done = parallel(lambda job: _prepare(job, rules), jobs)
    other = [job.source.name for job, fits in zip(jobs, done, strict=True) if not fits]
    if other:
        names = ", ".join(other[:5])
        _log.warning(
            "%d queries have another shape than the class's photographs and stay distorted (%s)", len(other), names
        )
    _log.info("%d queries are in %s", len(jobs), target)
    return target


class _Rules:
    """How the photographs of a class were prepared: their rules, at any size of their shape, and their cut-out."""

    def __init__(self, root: Path) -> None:
        record = read_json(root / RECORD)
        self._cameras: list[dict[str, Any]] = record["cameras"]
        self._colors: list[list[float]] = record["part_colors"]
        self.longest_px = max(max(c["width"], c["height"]) for c in self._cameras)
        self._made: dict[tuple[int, int], Lens | None] = {}

    def of(self, width: int, height: int) -> Lens | None:
        """The lens of pictures of this size; None for another shape."""
        if (width, height) not in self._made:
            self._made[width, height] = self._make(width, height)
        return self._made[width, height]

    def cut(self, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c2"]:
        """With the part cut out by its colors, where that was done in the class and the picture has no alpha."""
        if not self._colors or pixels.shape[2] == 4:
            return pixels
        height, width = pixels.shape[:2]
        scale = min(1.0, SMALL_PX / max(width, height))
        small = area_resize(pixels, round(scale * width), round(scale * height))
        return np.dstack([pixels, enlarged(cut_by_color(small, self._colors), width, height)])

    def _make(self, width: int, height: int) -> Lens | None:
        for entry in self._cameras:
            if abs(width / height * entry["height"] / entry["width"] - 1) < _SAME_SHAPE:
                camera = load_pycolmap().Camera(**{key: entry[key] for key in ("model", "width", "height", "params")})
                camera.rescale(width, height)
                return Lens(camera)
        return None


def _kind_jobs(root: Path, kind: Path, masks: Path | None) -> Sequence[_Job]:
    jobs = []
    for path in find_photos(kind):
        mask = None if masks is None or kind.name == GOOD else find_mask(masks / kind.name, path.stem)
        mask_target = root / "ground_truth" / kind.name / f"{path.stem}_mask.png"
        jobs.append(_Job(path, root / "test" / kind.name / f"{path.stem}.png", mask, mask_target))
    return jobs


def _prepare(job: _Job, rules: _Rules) -> bool:
    """Writes one query and its mask; whether a lens of the class fits its shape."""
    pixels = read_color(job.source)
    height, width = pixels.shape[:2]
    scale = min(1.0, rules.longest_px / max(width, height))
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    lens = rules.of(width, height)
    pixels = area_resize(pixels, width, height)
    write_bytes(job.target, png_bytes(rules.cut(pixels if lens is None else lens.undistorted(pixels))))
    if job.mask is not None and job.mask_target is not None:
        mask = 255 * mask_at_size(job.mask, width, height).astype(np.uint8)
        write_bytes(job.mask_target, png_bytes(mask if lens is None else lens.undistorted(mask, nearest=True)))
    return lens is not None
