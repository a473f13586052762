"""From scores to decisions: a threshold that good parts exceed at a chosen rate, learnt from views of the good part."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from PAD_utils.errors import UserError
from PAD_utils.files import read_json, write_json

OK, DEFECT, NOT_LOCALISED = "OK", "DEFECT", "NOT LOCALISED"

# How much higher a fresh view scores than one the model was trained on, when no view was held out to measure it:
# the largest of the medians' ratios that the tuning classes of docs/scoring.md showed, to one decimal.
DEFAULT_INFLATION = 1.1


@dataclass(frozen=True)
class Calibration:
    """The threshold of image scores, the rate of false alarms it promises, and what it was learnt from."""

    threshold: float
    false_alarm_rate: float
    views: int
    inflation: float

    def decide(self, score: float, localised: bool = True) -> str:
        """OK, DEFECT or NOT LOCALISED."""
        if not localised:
            return NOT_LOCALISED
        return DEFECT if score > self.threshold else OK

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        write_json(path, asdict(self))

    @staticmethod
    def load(path: Path) -> "Calibration":
        """Reads what `save` wrote. Raises UserError, naming the file, if that is not what it holds."""
        content: Any = read_json(path)
        try:
            return Calibration(**{k: type(getattr(_EXAMPLE, k))(v) for k, v in content.items()})
        except (TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path} is not a calibration ({error}); remove it to calibrate again") from error


_EXAMPLE = Calibration(0.0, 0.0, 0, 0.0)


def calibrate(
    seen: ArrayLike, false_alarm_rate: float, fresh: ArrayLike = (), inflation: float = DEFAULT_INFLATION
) -> Calibration:
    """The threshold from the scores of good views.

    `seen` are scores of views that the model was trained on: too good, since it knows them; they are multiplied by
    `inflation`, or, when there are at least 5 `fresh` scores of views that it was not trained on, by the ratio of the
    medians. Raises ValueError unless there are 5 scores and the rate lies in (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate must lie between 0 and 1, got {false_alarm_rate}")
    seen, fresh = np.asarray(seen, np.float64), np.asarray(fresh, np.float64)
    if len(seen) + len(fresh) < _FEWEST:
        raise ValueError(f"a threshold needs at least {_FEWEST} scores of good views, got {len(seen) + len(fresh)}")
    if len(fresh) >= _FEWEST and len(seen) >= _FEWEST:
        inflation = max(1.0, float(np.median(fresh) / max(float(np.median(seen)), 1e-12)))
    scores = np.concatenate((seen * inflation, fresh))
    return Calibration(upper_quantile(scores, false_alarm_rate), false_alarm_rate, len(scores), float(inflation))


_FEWEST = 5


def upper_quantile(scores: np.ndarray, rate: float) -> float:
    """The value that a further score exceeds with probability `rate`.

    The larger of two estimates: that of a log-normal distribution with the scores' mean and deviation (which reaches
    beyond the largest of few scores), and the order statistic k of n with k >= (n + 1) (1 - rate), which holds for
    any distribution (conformal prediction) but needs n >= 1 / rate - 1 scores.
    """
    n = len(scores)
    logs = np.log(np.maximum(scores, 1e-12))
    spread = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / n)
    parametric = math.exp(float(logs.mean()) + NormalDist().inv_cdf(1 - rate) * spread)
    k = math.ceil((n + 1) * (1 - rate))
    return max(parametric, float(np.sort(scores)[k - 1])) if k <= n else parametric
