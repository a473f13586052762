"""Thresholds keep their promise on fresh scores, and decisions survive being stored."""

import numpy as np
import pytest
from scipy import stats

from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK, Calibration, as_fresh, calibrate, upper_quantile

DISTRIBUTIONS = {"normal": stats.norm(10, 2), "gamma": stats.gamma(9), "exponential": stats.expon(5)}


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("count", [70, 105, 210])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_fresh_good_scores_raise_no_more_than_1_3_times_the_false_alarms_aimed_at(
    rate: float, count: int, name: str
) -> None:
    """Of scores that are logarithms, as ours; even of exponential ones, which spread further than any seen."""
    scores = DISTRIBUTIONS[name]
    drawn = scores.rvs((1500, count), random_state=np.random.default_rng(0))
    measured = scores.sf([upper_quantile(draw, rate, logarithms=True) for draw in drawn]).mean()
    assert measured < 1.3 * rate or (rate < 0.01 and measured < 1.5 * rate)
    if rate >= 0.01:
        assert measured > 0.6 * rate  # nor are defects let through for nothing


@pytest.mark.parametrize("count", [24, 70, 210])
def test_scores_that_spread_by_factors_raise_no_more_either(count: int) -> None:
    scores = stats.lognorm(0.3, scale=np.e)
    drawn = scores.rvs((1500, count), random_state=np.random.default_rng(0))
    assert 0.006 < scores.sf([upper_quantile(draw, 0.01) for draw in drawn]).mean() < 0.013


def test_the_limit_moves_less_from_one_set_of_views_to_the_next_than_the_highest_score() -> None:
    drawn = stats.gamma(9).rvs((1500, 105), random_state=np.random.default_rng(0))
    assert np.std([upper_quantile(draw, 0.01, logarithms=True) for draw in drawn]) < 0.8 * drawn.max(1).std()


@pytest.mark.parametrize("count", [5, 30, 105])
def test_a_rarer_false_alarm_has_a_higher_threshold(count: int) -> None:
    scores = stats.gamma(9).rvs(count, random_state=np.random.default_rng(0))
    limits = [upper_quantile(scores, rate, logarithms=True) for rate in np.geomspace(1e-4, 0.6, 200)]
    assert (np.diff(limits) <= 1e-9).all()
    edge = (count // 5 + 1) / (count + 1)  # from here on, above, an order statistic serves
    below, above = (upper_quantile(scores, edge * (1 + off), logarithms=True) for off in (-1e-6, 1e-6))
    assert count < 25 or below == pytest.approx(above, abs=1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.02])
@pytest.mark.parametrize("count", [5, 12, 24])
def test_of_few_scores_the_limit_is_that_of_a_normal_distribution(rate: float, count: int) -> None:
    draws = np.random.default_rng(0).normal(5, 1, (5000, count))
    for limits in (
        [upper_quantile(draw, rate, logarithms=True) for draw in draws],
        np.log([upper_quantile(np.exp(draw), rate) for draw in draws]),
    ):
        assert rate / 1.3 < stats.norm(5, 1).sf(limits).mean() < 1.1 * rate


def test_views_that_the_model_knows_are_not_believed() -> None:
    seen = np.linspace(1, 2, 100)
    plain, raised = calibrate(seen, 0.05), calibrate(seen, 0.05, inflation=1.5)
    assert raised.threshold == pytest.approx(1.5 * plain.threshold)
    assert (plain.views, plain.inflation, raised.inflation) == (100, 1.0, 1.5)


def test_scores_of_views_that_training_saw_are_moved_to_the_mean_of_the_others() -> None:
    seen, held_out = np.array([1.0, 2.0, 3.0]), np.array([4.0, 8.0])
    assert as_fresh(seen, held_out).tolist() == [5.0, 6.0, 7.0, 4.0, 8.0]
    assert as_fresh(held_out, seen).tolist() == [4.0, 8.0, 1.0, 2.0, 3.0]  # never down
    assert as_fresh([], held_out).tolist() == held_out.tolist()
    assert as_fresh(seen, []).tolist() == []


def test_a_rate_that_so_many_scores_cannot_show_is_not_promised() -> None:
    scores = np.random.default_rng(0).normal(size=49)
    strict, attainable = (calibrate(scores, rate, logarithms=True) for rate in (0.01, 0.02))
    assert strict.attainable_rate == strict.false_alarm_rate == pytest.approx(0.02) and strict.asked_rate == 0.01
    assert strict.threshold == attainable.threshold == upper_quantile(scores, 0.02, logarithms=True)
    few, lax = (calibrate(*of, logarithms=True) for of in ((scores[:9], 0.01), (scores, 0.1)))
    assert few.false_alarm_rate == 0.1 and few.threshold == upper_quantile(scores[:9], 0.1, logarithms=True)
    assert lax.false_alarm_rate == lax.asked_rate == 0.1
    assert lax.threshold == upper_quantile(scores, 0.1, logarithms=True)


def test_decisions() -> None:
    calibration = Calibration(2.0, 0.01, 0.01, 0.1, views=10, inflation=1.0)
    assert [calibration.decide(s) for s in (1.0, 2.0, 2.1)] == [OK, OK, DEFECT]
    assert calibration.decide(9.0, localized=False) == NOT_LOCALISED


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="false_alarm_rate"):
        calibrate([1.0] * 10, 0.0)
    with pytest.raises(ValueError, match="at least 5"):
        calibrate([1.0, 2.0], 0.01)
