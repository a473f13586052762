"""From poses to verdicts: hold every picture against a good object at its pose, and decide by the threshold."""

import time
from dataclasses import dataclass

from gaussian_splatting.progress import progress
from PAD_utils.data.mad import Sample
from PAD_utils.inspector import Comparison, Inspector, Verdict, batches
from PAD_utils.report.rate import Rates
from PAD_utils.run.steps import Poses
from PAD_utils.score.calibration import Calibration


@dataclass(frozen=True)
class Verdicts:
    """One verdict per sample; the threshold that decided (None: there were too few good views to calibrate one), and
    how the scores came about."""

    each: list[Verdict]
    calibration: Calibration | None
    features: str
    score_seconds: float
    rates: Rates | None = None  # of the report's slider


def judge(inspector: Inspector, samples: list[Sample], poses: Poses) -> Verdicts:
    """Step 5: what a good object would look like from there, how the photograph differs, and whether that is normal."""
    calibration = inspector.calibration  # learned before the clock starts
    start = time.perf_counter()
    compared: dict[int, Comparison] = {}
    with progress(desc="score", total=len(samples)) as bar:
        for some in batches([sample.photograph for sample in samples]):
            found = inspector.compare([samples[i].photograph for i in some], [poses.estimates[i] for i in some])
            compared |= dict(zip(some, found, strict=True))
            bar.update(len(some))
    seconds = (time.perf_counter() - start) / max(1, len(samples))
    each = [inspector.decide(compared[i], estimate) for i, estimate in enumerate(poses.estimates)]
    return Verdicts(each, calibration, inspector.pyramid.name, seconds, rates_of(inspector))


def rates_of(inspector: Inspector) -> Rates | None:
    """The slider of the report; None where no threshold could be learned."""
    if inspector.calibration is None:
        return None
    return Rates.of(inspector.calibration, lambda rate: inspector.usual.calibration(rate, inspector.config.score))
