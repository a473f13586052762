"""What the slider of the rate of false alarms needs: thresholds of all rates that it offers, and every score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from PAD_utils.report.cards import Judged
from PAD_utils.report.charts import LEFT, RIGHT, WIDTH, ScoreAxis, short
from PAD_utils.score.calibration import NOT_LOCALISED, Calibration

_STEPS = 60  # rates on the slider, evenly spread over the logarithm
_HIGHEST = 0.5  # beyond it every second good part would be thrown away


@dataclass(frozen=True)
class Rates:
    """Rates of false alarms, ascending, their thresholds, and which of them is that of the run. `attainable`: the least
    for which the good views give a threshold by themselves."""

    rates: list[float]
    thresholds: list[float]
    chosen: int
    attainable: float

    @staticmethod
    def of(calibration: Calibration, again: Callable[[float], Calibration]) -> "Rates":
        """The slider of a run. `again` gives the calibration for another rate, from the same scores."""
        low = min(calibration.attainable_rate, _HIGHEST)
        others = [float(rate) for rate in np.geomspace(low, max(low, _HIGHEST), _STEPS)]
        found = {rate: again(rate).threshold for rate in others}
        found[calibration.false_alarm_rate] = calibration.threshold
        rates = sorted(found)
        chosen = rates.index(calibration.false_alarm_rate)
        return Rates(rates, [found[rate] for rate in rates], chosen, calibration.attainable_rate)


def slider(rates: Rates | None, judged: Sequence[Judged], threshold: float | None) -> dict[str, Any] | None:
    """The slider's data as plain values; None where nothing was decided. Of each picture: score, label, kind, and
    whether it could be localized."""
    if rates is None or threshold is None:
        return None
    kinds = sorted({one.defect for one in judged})
    numbers = {kind: number for number, kind in enumerate(kinds)}
    axis = ScoreAxis.of([s for one in judged if (s := one.known_score) is not None], threshold)
    return {
        "rates": rates.rates,
        "thresholds": rates.thresholds,
        "texts": [short(t) for t in rates.thresholds],
        "shares": [float(np.clip(axis.share(t), 0, 1)) if t > 0 or not axis.log else 0.0 for t in rates.thresholds],
        "chosen": rates.chosen,
        "attainable": rates.attainable,
        "left": LEFT,
        "width": WIDTH - LEFT - RIGHT,
        "kinds": kinds,
        "judged": [
            [one.known_score, one.label, numbers[one.defect], int(one.decision != NOT_LOCALISED)] for one in judged
        ],
    }
