"""Photographs by the thousand (--images): read ahead, localized and judged a few at a time, each kept as soon as it is
known, on every GPU there is."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from gaussian_splatting.parallel import parallel
from gaussian_splatting.progress import progress
from PAD_utils.data.photographs import Loaded, Photograph, QuerySetting, file_hash
from PAD_utils.data.transforms import some as named
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import MAPS_FOLDER, map_path, read_map
from PAD_utils.inspector import Inspector
from PAD_utils.pose.localize import PICTURES_AT_ONCE
from PAD_utils.run.job import Job
from PAD_utils.run.photograph_judge import PhotographJudge
from PAD_utils.run.photograph_log import PhotographLog, Row
from PAD_utils.run.workers import by_all

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inspected:
    """The rows of all photographs that could be judged, in the order in which they were listed, and how many could
    not."""

    rows: list[Row] = field(default_factory=list)
    left_out: int = 0


def inspect_photographs(
    job: Job, inspector: Inspector, photographs: Sequence[Photograph], setting: QuerySetting, fingerprint: str
) -> Inspected:
    """Judges what an earlier run of the same command has not judged yet, or what has changed since. `fingerprint`: of
    the inspector and all else that a verdict depends on but the photograph and the threshold."""
    kept = PhotographLog(job.folder, fingerprint)
    judge = PhotographJudge(inspector, setting, job.folder / MAPS_FOLDER)
    todo = _undone(kept, photographs, judge.maps)
    _decide_anew(kept, photographs, judge)
    left_out: list[Loaded] = []
    with progress(desc="inspect", total=len(photographs), initial=len(photographs) - len(todo)) as bar:
        while todo:
            for found in by_all(job, judge, todo):
                kept.add(found.rows)
                left_out += found.left_out
                bar.update(len(found.rows) + len(found.left_out))
            todo = _lost_with_a_worker(todo, kept, left_out)
    rows = [kept.rows[photograph.key] for photograph in photographs if photograph.key in kept.rows]
    if not rows:
        raise UserError(f"none of the pictures can be read: {named([one.unreadable for one in left_out])}")
    _warn(rows, left_out, photographs)
    return Inspected(rows, len(left_out))


def _lost_with_a_worker(
    todo: Sequence[Photograph], kept: PhotographLog, left_out: Sequence[Loaded]
) -> list[Photograph]:
    """Those that nothing came of. Raises UserError when nothing came of any."""
    unreadable = {one.photograph for one in left_out}
    lost = [photograph for photograph in todo if photograph.key not in kept.rows and photograph not in unreadable]
    if len(lost) == len(todo):
        raise UserError("all workers have died; see above, and try with one, by --device cuda:0")
    return lost


def _undone(kept: PhotographLog, photographs: Sequence[Photograph], maps: Path) -> list[Photograph]:
    """Those that no row speaks of, or that are not what they were."""
    known = [p for p in photographs if p.key in kept.rows]
    hashes = parallel(lambda photograph: file_hash(photograph.path), known, name="look for changes")
    same = set()
    for photograph, content in zip(known, hashes, strict=True):
        row = kept.rows[photograph.key]
        if row.content == content and map_path(maps, photograph.defect, photograph.name).exists():
            kept.rows[photograph.key] = replace(row, part=photograph.part, path=str(photograph.path))
            same.add(photograph.key)
        else:
            del kept.rows[photograph.key]
    if known:
        changed = len(known) - len(same)
        log.info("%d pictures were judged by an earlier run; %d of them have changed since", len(known), changed)
    return [photograph for photograph in photographs if photograph.key not in same]


def _decide_anew(kept: PhotographLog, photographs: Sequence[Photograph], judge: PhotographJudge) -> None:
    """Decisions and regions by the present threshold, of the maps that are there: another rate needs nothing else."""
    calibration = judge.inspector.calibration
    threshold = None if calibration is None else calibration.threshold
    asked = {photograph.key for photograph in photographs}
    other = [row for row in kept.rows.values() if row.threshold != threshold and row.key in asked]

    def decided(row: Row) -> Row:
        scores = torch.from_numpy(read_map(map_path(judge.maps, row.defect, row.name)))
        decision, regions = judge.inspector.decision(scores, row.score, row.estimate)
        return replace(row, threshold=threshold, decision=decision, regions=[region.as_json() for region in regions])

    for first in range(0, len(other), PICTURES_AT_ONCE):
        kept.add(parallel(decided, other[first : first + PICTURES_AT_ONCE]))


def _warn(rows: Sequence[Row], left_out: Sequence[Loaded], photographs: Sequence[Photograph]) -> None:
    """What a user has to know of the photographs, each kind in one line."""
    if left_out:
        log.warning(
            "%d of %d pictures are left out, not judged: %s",
            *(len(left_out), len(photographs), named([one.unreadable for one in left_out])),
        )
    guesses: dict[str, list[str]] = {}
    for row in rows:
        if row.guess is not None:
            guesses.setdefault(row.guess, []).append(Path(row.path).name)
    for guess, names in guesses.items():
        log.warning(
            "%d pictures (%s) are of %s; if that is wrong, describe their camera with --camera or --camera_angle_x",
            *(len(names), named(names), guess),
        )
    lost = [row.key for row in rows if not row.pose["converged"]]
    if lost:
        log.warning(
            "%d of %d pictures could not be localized (first: %s). Are they of this object, on a plain background, and "
            "is the field of view right?",
            *(len(lost), len(rows), lost[0]),
        )
