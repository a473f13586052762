"""One decision a part: the photographs of each subfolder of --images, brought together on the model."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.progress import progress
from PAD_utils.evaluate.maps import MAPS_FOLDER, map_path, read_map
from PAD_utils.evaluate.parts import PartRow
from PAD_utils.inspector import Inspector
from PAD_utils.run.photograph_log import Row

log = logging.getLogger(__name__)


def judge_parts(inspector: Inspector, rows: Sequence[Row], folder: Path) -> list[PartRow]:
    """The parts in the order of their photographs, from the maps below `folder`."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.part is not None:
            members.setdefault(row.part, []).append(row)
    found, refused = [], Counter[str]()
    for part, some in progress(members.items(), desc="parts", total=len(members), leave=False):
        trusted = [row for row in some if row.pose["converged"]]
        maps = [torch.from_numpy(read_map(map_path(folder / MAPS_FOLDER, r.defect, r.name))) for r in trusted]
        try:
            judged = inspector.decide_part(maps, [row.estimate for row in trusted])
        except ValueError as error:
            refused[str(error)] += 1
            found.append(PartRow(part, len(some), len(trusted), None, None, None))
        else:
            found.append(PartRow(part, len(some), len(trusted), judged.score, judged.threshold, judged.decision))
    for reason, count in refused.items():
        log.warning("%d parts could not be decided: %s", count, reason)
    return found


def part_figures(parts: Sequence[PartRow]) -> dict[str, Any]:
    """What metrics.json says of parts."""
    decisions = Counter(part.decision or "undecided" for part in parts)
    return {"n": len(parts), "decisions": dict(sorted(decisions.items()))}
