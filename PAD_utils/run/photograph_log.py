"""What was found of each photograph of --images, written as it is found: a line of JSON each, in a file that only
grows, so that a run that was killed keeps all but the photographs in hand."""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.pose.types import PoseEstimate
from PAD_utils.data.photographs import ALONE, Photograph
from PAD_utils.files import check_sum, explaining
from PAD_utils.inspector import Verdict
from PAD_utils.run.outputs import kept_pose, restored_pose
from PAD_utils.score.regions import Region

log = logging.getLogger(__name__)
LOG_NAME = "photographs.jsonl"


@dataclass(frozen=True)
class Row:
    """All that is kept of a photograph but its map: where its file lies and a hash of its content, the camera that took
    it and the pose as the refiner left it, score, decision at which threshold (None: there was none), regions, what was
    guessed of its camera, and the seconds that retrieval, refinement and scoring took."""

    part: str | None
    path: str
    content: str
    lens: dict[str, Any]
    pose: dict[str, Any]
    score: float
    threshold: float | None
    decision: str | None
    regions: list[dict[str, Any]]
    guess: str | None
    seconds: tuple[float, float, float]

    @property
    def photograph(self) -> Photograph:
        """Which photograph it is of."""
        return Photograph(self.part, Path(self.path))

    @property
    def defect(self) -> str:
        """The kind that it is filed under."""
        return self.part or ALONE

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return Path(self.path).stem

    @property
    def key(self) -> str:
        """As in poses.json."""
        return f"{self.defect}/{self.name}.png"

    @property
    def estimate(self) -> PoseEstimate:
        """The pose, to the bit as it was found."""
        return restored_pose(self.pose, Camera(**self.lens, cam_from_world=torch.eye(4, dtype=torch.float64)))

    @property
    def found_regions(self) -> list[Region]:
        """The regions above the threshold."""
        return [Region(**region) for region in self.regions]

    @staticmethod
    def of(
        photograph: Photograph,
        content: str,
        verdict: Verdict,
        threshold: float | None,
        guess: str | None,
        seconds: tuple[float, float, float],
    ) -> "Row":
        """The row of a verdict."""
        lens = {name: value for name, value in vars(verdict.pose.camera).items() if name != "cam_from_world"}
        regions = [region.as_json() for region in verdict.regions]
        judged = verdict.score, threshold, verdict.decision, regions
        pose = kept_pose(verdict.pose)
        return Row(photograph.part, str(photograph.path), content, lens, pose, *judged, guess, seconds)


class PhotographLog:
    """The rows of a folder, by key. `fingerprint`: of all that they depend on but the pictures and the threshold; rows
    of another one are dropped. What is damaged costs time, never the run."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / LOG_NAME
        self.rows: dict[str, Row] = {}
        with explaining(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            if not self._go_on(fingerprint):
                self._path.write_text(json.dumps({"fingerprint": fingerprint}) + "\n", "utf-8")

    def _go_on(self, fingerprint: str) -> bool:
        """Takes over the rows of an earlier run, and cuts off a last line that was not finished."""
        if not self._path.exists():
            return False
        whole = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines):
                try:
                    if not line.endswith(b"\n"):
                        break
                    content = json.loads(line)
                    if number == 0 and content["fingerprint"] != fingerprint:
                        return False
                    if number:
                        if content.pop("sum") != check_sum(content):
                            raise ValueError("its sum is wrong")
                        row = Row(**{**content, "seconds": tuple(content["seconds"])})
                        self.rows[row.key] = row
                except Exception as error:  # a file that was edited or cut may be wrong in any way
                    log.warning(
                        "%s is damaged at line %d (%s): what follows is done anew", self._path, number + 1, error
                    )
                    break
                whole += len(line)
        if whole:
            os.truncate(self._path, whole)
        return whole > 0

    def add(self, rows: Iterable[Row]) -> None:
        """Appends rows; a later one of the same photograph counts."""
        text = ""
        for row in rows:
            self.rows[row.key] = row
            content = {**asdict(row), "seconds": list(row.seconds)}
            text += json.dumps({**content, "sum": check_sum(content)}, allow_nan=False) + "\n"
        with explaining(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
