"""Thresholds keep their promise on fresh scores, and decisions survive being stored."""

import numpy as np
import pytest
from scipy import stats

from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK, Calibration, as_fresh, calibrate, upper_quantile


@pytest.mark.parametrize("rate", [0.01, 0.05])
@pytest.mark.parametrize("count", [70, 210])
def test_false_alarms_on_fresh_scores_are_near_the_promise(rate: float, count: int) -> None:
    rng = np.random.default_rng(0)
    for draw in (
        lambda n: rng.lognormal(1, 0.3, n),
        lambda n: rng.gumbel(5, 0.5, n).clip(1),
        lambda n: rng.gamma(9, 1, n),
    ):
        measured = [np.mean(draw(2000) > upper_quantile(draw(count), rate)) for _ in range(60)]
        assert np.mean(measured) < (1.3 if count > 1 / rate else 1.8) * rate


@pytest.mark.parametrize("rate", [0.01, 0.02])
@pytest.mark.parametrize("count", [5, 12, 24])
def test_few_scores_keep_the_promise_as_well(rate: float, count: int) -> None:
    draws = np.random.default_rng(0).normal(5, 1, (5000, count))
    for limits in (
        [upper_quantile(draw, rate, logarithms=True) for draw in draws],
        np.log([upper_quantile(np.exp(draw), rate) for draw in draws]),
    ):
        assert stats.norm(5, 1).sf(limits).mean() == pytest.approx(rate, rel=0.1)


def test_views_that_the_model_knows_are_not_believed() -> None:
    seen = np.linspace(1, 2, 100)
    plain, raised = calibrate(seen, 0.05), calibrate(seen, 0.05, inflation=1.5)
    assert raised.threshold == pytest.approx(1.5 * plain.threshold)
    assert (plain.views, plain.inflation, raised.inflation) == (100, 1.0, 1.5)


def test_scores_of_views_that_training_saw_go_half_of_the_way_to_those_of_others() -> None:
    seen, held_out = np.array([1.0, 2.0, 3.0]), np.array([4.0, 8.0])
    assert as_fresh(seen, held_out).tolist() == [3.0, 4.0, 5.0, 4.0, 8.0]
    assert as_fresh(held_out, seen).tolist() == [4.0, 8.0, 1.0, 2.0, 3.0]  # never down
    assert as_fresh([], held_out).tolist() == held_out.tolist()
    assert as_fresh(seen, []).tolist() == []


def test_decisions() -> None:
    calibration = Calibration(threshold=2.0, false_alarm_rate=0.01, views=10, inflation=1.0)
    assert [calibration.decide(s) for s in (1.0, 2.0, 2.1)] == [OK, OK, DEFECT]
    assert calibration.decide(9.0, localized=False) == NOT_LOCALISED


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="false_alarm_rate"):
        calibrate([1.0] * 10, 0.0)
    with pytest.raises(ValueError, match="at least 5"):
        calibrate([1.0, 2.0], 0.01)
