"""From photograph files to rows, with one inspector: read ahead, localized and judged a few at a time, maps written."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from gaussian_splatting.parallel import ahead, behind, parallel
from gaussian_splatting.pose.types import PoseEstimate
from PAD_utils.data.mad import Sample
from PAD_utils.data.photographs import Loaded, Photograph, QuerySetting, read_in_turn
from PAD_utils.evaluate.maps import map_path, write_map
from PAD_utils.inspector import Inspector, Verdict, batches
from PAD_utils.pose.localize import PICTURES_AT_ONCE
from PAD_utils.run.photograph_log import Row
from PAD_utils.score.levels import PAIRS_PER_BATCH


class Found(NamedTuple):
    """What came of a few photographs: rows of those that were judged, and the others, with the reason."""

    rows: list[Row]
    left_out: list[Loaded]


class _Judged(NamedTuple):
    """A photograph in memory, its verdict, and the seconds that retrieval, refinement and scoring took."""

    loaded: Loaded
    verdict: Verdict
    seconds: tuple[float, float, float]


@dataclass(frozen=True)
class PhotographJudge:
    """Judges photographs with one inspector and writes their maps below `maps`."""

    inspector: Inspector
    setting: QuerySetting
    maps: Path

    def judge(self, photographs: Sequence[Photograph]) -> Iterator[Found]:
        """The photographs in order, a few at a time. The next are read, and maps written, while some are judged."""
        read = ahead(read_in_turn(photographs, self.setting))
        yield from behind(self._written, (self._judged(loaded) for loaded in read))

    def _judged(self, loaded: Sequence[Loaded]) -> tuple[list[_Judged], list[Loaded]]:
        readable = [(one, one.sample) for one in loaded if one.sample is not None]
        judged: dict[int, _Judged] = {}
        for some in batches([sample.image for _, sample in readable], PICTURES_AT_ONCE):
            samples = [readable[i][1] for i in some]
            pictures = [torch.stack([getattr(sample, kind) for sample in samples]) for kind in ("image", "photograph")]
            found = self.inspector.localize(pictures[0], [sample.intrinsics for sample in samples], pictures[1])
            _ = self.inspector.calibration  # learned before the clock starts
            start = time.perf_counter()
            verdicts = self._verdicts(samples, found.estimates)
            parts = found.seconds_retrieve, found.seconds_refine, time.perf_counter() - start
            retrieve, refine, score = (part / len(some) for part in parts)
            judged |= {
                i: _Judged(readable[i][0], verdict, (retrieve, refine, score))
                for i, verdict in zip(some, verdicts, strict=True)
            }
        return [judged[i] for i in range(len(readable))], [one for one in loaded if one.sample is None]

    def _verdicts(self, samples: Sequence[Sample], estimates: Sequence[PoseEstimate]) -> list[Verdict]:
        """On a CPU one by one: there it costs nothing, and last bits do not depend on which photographs go together."""
        verdicts, most = [], PAIRS_PER_BATCH[self.inspector.device.type]
        for some in batches([sample.photograph for sample in samples], most):  # of one size, hence in order
            compared = self.inspector.compare([samples[i].photograph for i in some], [estimates[i] for i in some])
            verdicts += [self.inspector.decide(c, estimates[i]) for i, c in zip(some, compared, strict=True)]
        return verdicts

    def _written(self, found: tuple[list[_Judged], list[Loaded]]) -> Found:
        """Maps first: a row says that its map is there."""
        judged, left_out = found
        parallel(self._write_map, judged)
        calibration = self.inspector.calibration
        threshold = None if calibration is None else calibration.threshold
        rows = [
            Row.of(j.loaded.photograph, j.loaded.content, j.verdict, threshold, j.loaded.guess, j.seconds)
            for j in judged
        ]
        return Found(rows, left_out)

    def _write_map(self, judged: _Judged) -> None:
        photograph = judged.loaded.photograph
        write_map(map_path(self.maps, photograph.defect, photograph.name), judged.verdict.map.numpy())
