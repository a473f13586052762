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

    `attainable_rate` is 1 / (views + 1): the least rate that so many scores show by themselves. The threshold aims at
    it where `asked_rate` lies below."""

    threshold: float
    false_alarm_rate: float
    asked_rate: float
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

    A rate below 1 / (n + 1) would place it beyond all that n scores show, by how far the highest of them happen to
    spread. It then aims at 1 / (n + 1). Scores of views that the model was trained on are too good, since it knows
    them: they are multiplied by `inflation`.
    `logarithms`: the scores are sums of logarithms already, and spread evenly around their mean; others spread by
    factors. Raises ValueError unless there are 5 scores and the rate lies in (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"false_alarm_rate must lie between 0 and 1, got {false_alarm_rate}")
    scores = np.asarray(scores, np.float64)
    if len(scores) < _FEWEST:
        raise ValueError(f"a threshold needs at least {_FEWEST} scores of good views, got {len(scores)}")
    attainable_rate = 1 / (len(scores) + 1)
    aim = max(false_alarm_rate, attainable_rate)
    threshold = upper_quantile(scores * inflation, aim, logarithms)
    return Calibration(threshold, aim, false_alarm_rate, attainable_rate, len(scores), inflation)


_FEWEST = 5
_FEWEST_WITH_A_TAIL = 25
_TAIL = 5  # one score in so many counts as high


def upper_quantile(scores: np.ndarray, rate: float, logarithms: bool = False) -> float:
    """The value that a further score exceeds with probability `rate`.

    The highest fifth of 25 scores and more is taken for the tail of an exponential distribution, in the scores'
    logarithms unless they are `logarithms` themselves (peaks over a threshold: Davison and Smith 1990). For rates above
    that fifth, an order statistic serves, interpolated. Of fewer scores it is the largest or, where that is higher, the
    prediction limit of a normal distribution (Student's t, for mean and deviation are those of n scores).
    """
    values = np.sort(scores if logarithms else np.log(np.maximum(scores, 1e-12)))
    n = len(values)
    high = n // _TAIL if n >= _FEWEST_WITH_A_TAIL else 0
    beyond = (high + 1) / ((n + 1) * rate)  # how many times rarer the limit is than a high score
    if beyond <= 1:
        limit = float(np.quantile(values, 1 - rate, method="weibull"))
    elif high:
        limit = _exponential_limit(float(values[-high - 1]), values[-high:], beyond)
    else:
        spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / n)
        limit = max(float(values.max()), float(values.mean()) + float(stdtrit(n - 1, 1 - rate)) * spread)
    return limit if logarithms else math.exp(limit)


def _exponential_limit(start: float, high: np.ndarray, beyond: float) -> float:
    """Where a tail from `start` on that has these high scores is `beyond` times rarer than at its start.

    A known mean m of the excesses gives start + m ln(beyond); their mean over k of them, by which a further one is
    predicted, k (beyond^(1/k) - 1) in the place of the logarithm. Scores of good parts fall faster than exponentially.
    So halfway, with 2 k in the place of k, the rate is kept (tests/test_calibration.py).
    """
    count = 2 * len(high)
    return start + float(high.mean() - start) * count * (beyond ** (1 / count) - 1)


def as_fresh(seen: ArrayLike, held_out: ArrayLike) -> np.ndarray:
    """Scores as those of fresh photographs, from scores of views that training saw and of such that it did not.

    Views that it saw score too low by about as much, but there are more of them, which tells more about the highest.
    So they are moved until their mean is that of the others.
    """
    seen, held_out = np.asarray(seen, np.float64), np.asarray(held_out, np.float64)
    if len(seen) == 0 or len(held_out) == 0:
        return held_out
    return np.concatenate((seen + max(0.0, held_out.mean() - seen.mean()), held_out))
