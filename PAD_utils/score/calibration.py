"""From scores to decisions: a threshold that good parts exceed at a chosen rate, learned from good views."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

OK, DEFECT, NOT_LOCALISED = "OK", "DEFECT", "NOT LOCALISED"


@dataclass(frozen=True)
class Calibration:
    """The threshold of image scores, the rate of false alarms it aims at, and what it was learned from.

    `attainable_rate` is 1 / (views + 1): the least rate for which so many scores give a threshold by themselves. Where
    it exceeds the rate asked for, the threshold also rests on an assumption about the highest scores."""

    threshold: float
    false_alarm_rate: float
    attainable_rate: float
    views: int
    inflation: float

    def decide(self, score: float, localized: bool = True) -> str:
        """OK, DEFECT or NOT LOCALISED."""
        if not localized:
            return NOT_LOCALISED
        return DEFECT if score > self.threshold else OK


def calibrate(
    scores: ArrayLike, false_alarm_rate: float, inflation: float = 1.0, logarithms: bool = False
) -> Calibration:
    """The threshold from the scores of good views.

    Scores of views that the model was trained on are too good, since it knows them: they are multiplied by `inflation`.
    `logarithms`: the scores are sums of logarithms already, and spread evenly around their mean; others spread by
    factors. Raises ValueError unless there are 5 scores and the rate lies in (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate must lie between 0 and 1, got {false_alarm_rate}")
    scores = np.asarray(scores, np.float64)
    if len(scores) < _FEWEST:
        raise ValueError(f"a threshold needs at least {_FEWEST} scores of good views, got {len(scores)}")
    threshold = upper_quantile(scores * inflation, false_alarm_rate, logarithms)
    return Calibration(threshold, false_alarm_rate, 1 / (len(scores) + 1), len(scores), inflation)


_FEWEST = 5


def upper_quantile(scores: np.ndarray, rate: float, logarithms: bool = False) -> float:
    """The value that a further score exceeds with probability `rate`.

    From 1 / rate - 1 scores on this holds for any distribution, if the further score is one like these: the
    (1 - rate) (n + 1)-th of the n scores, interpolated (conformal prediction). Of fewer scores it is the largest of
    them or, where that is higher, the prediction limit of a normal distribution of the scores or of their logarithms
    (Student's t, for mean and deviation are those of n scores).
    """
    n = len(scores)
    if n + 1 >= 1 / rate:
        return float(np.quantile(scores, 1 - rate, method="weibull"))
    values = scores if logarithms else np.log(np.maximum(scores, 1e-12))
    spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / n)
    limit = max(float(values.max()), float(values.mean()) + float(stdtrit(n - 1, 1 - rate)) * spread)
    return limit if logarithms else math.exp(limit)


def as_fresh(seen: ArrayLike, held_out: ArrayLike) -> np.ndarray:
    """Scores as those of fresh photographs, from scores of views that training saw and of such that it did not.

    Views that it saw score too low by about as much, but there are more of them, which tells more about the highest.
    So they are moved until their mean is that of the others.
    """
    seen, held_out = np.asarray(seen, np.float64), np.asarray(held_out, np.float64)
    if len(seen) == 0 or len(held_out) == 0:
        return held_out
    return np.concatenate((seen + max(0.0, held_out.mean() - seen.mean()), held_out))
