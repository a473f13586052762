"""A part on its way through the station: photographs come in, an answer goes out. Plain data and its JSON."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from PAD_utils.inspector import Taken, Verdict
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK

LABELS = ("good", "defective")
KINDS = {"photograph": "photograph.jpg", "rendering": "rendering.jpg", "heat": "heat.png"}


class RefusedError(Exception):
    """What a client sent, or asks for, is refused: one line, and the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Photograph:
    """A photograph as it came: its name, for display only, its size in pixels once upright, and for each class that it
    may show, by name, what that class's inspector made of it."""

    name: str
    width: int
    height: int
    taken: Mapping[str, Taken]


@dataclass(frozen=True)
class Part:
    """One or several photographs of one part. `classes`: those that it may be of. `received`: time.time(). `origin`:
    which state of which file of the watched folder; None for what came over the network. `answer` gets what is told to
    the client, once it is in the database."""

    id: str
    photographs: Sequence[Photograph]
    classes: Sequence[str]
    received: float
    origin: str | None = None
    answer: "Future[dict[str, Any]]" = field(default_factory=Future)


@dataclass(frozen=True)
class Judged:
    """A part with its class (None: not recognized), the fingerprint of the model that judged it, its threshold, and a
    verdict and a pose (4, 4; world_from_camera in Blender axes and the user's world) for each photograph."""

    part: Part
    classname: str | None
    model: str
    threshold: float | None
    verdicts: Sequence[Verdict]
    poses: Sequence[Sequence[Sequence[float]]]

    @property
    def decision(self) -> str | None:
        """DEFECT if one photograph shows a defect; else NOT LOCALISED if one could not be judged; else OK."""
        found = [verdict.decision for verdict in self.verdicts]
        return next((d for d in (DEFECT, NOT_LOCALISED, None) if d in found), OK)

    @property
    def score(self) -> float | None:
        """The highest score of the photographs that could be judged; None if none could."""
        scores = [v.score for v in self.verdicts if v.decision != NOT_LOCALISED and math.isfinite(v.score)]
        return max(scores, default=None)

    def as_json(self) -> dict[str, Any]:
        """What the client is told. Regions are in pixels of the photograph as it came, upright."""
        at = datetime.fromtimestamp(self.part.received, timezone.utc)
        return {
            "id": self.part.id,
            "at": at.isoformat(timespec="milliseconds"),
            "source": "network" if self.part.origin is None else "folder",
            "class": self.classname,
            "decision": self.decision,
            "score": self.score,
            "threshold": self.threshold,
            "label": None,
            "photographs": [self._photograph(i) for i in range(len(self.verdicts))],
        }

    def _photograph(self, index: int) -> dict[str, Any]:
        photograph, verdict = self.part.photographs[index], self.verdicts[index]
        height, width = verdict.map.shape
        across, down = photograph.width / width, photograph.height / height
        regions = [
            {
                **{"left": r.left * across, "top": r.top * down, "width": r.width * across, "height": r.height * down},
                **{"area": r.area * across * down, "peak": r.peak},
            }
            for r in verdict.regions
        ]
        return {
            "name": photograph.name,
            "width": photograph.width,
            "height": photograph.height,
            "decision": verdict.decision,
            "score": _finite(verdict.score),
            "reason": verdict.pose.reason,
            "unexplained": _finite(verdict.pose.unexplained),
            "pose": self.poses[index] if verdict.decision != NOT_LOCALISED else None,
            "regions": regions,
            **{kind: f"/parts/{self.part.id}/{index}/{kind}" for kind in KINDS},
        }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
