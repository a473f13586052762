"""What the report says in words."""

import numpy as np
import pytest

from PAD_utils.report.sentences import decision_sentence, interval, rate_in_words


def _map(x: int, y: int) -> np.ndarray:
    scores = np.zeros((40, 60), np.float32)
    scores[y, x] = 15.8
    return scores


def _mask() -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:20] = True
    return mask


def test_a_missed_defect_tells_whether_it_was_seen_at_all() -> None:
    start = "Score 15.8 is 4.7 below the threshold 20.5; the highest spot"
    assert decision_sentence("OK", 15.8, 20.5, _map(12, 11), _mask()) == f"{start} lies on the marked defect."
    assert decision_sentence("OK", 15.8, 20.5, _map(53, 15), _mask()) == f"{start} lies 34 px beside the marked defect."
    assert decision_sentence("OK", 15.8, 20.5) == "Score 15.8 is 4.7 below the threshold 20.5."


def test_a_false_alarm_tells_where() -> None:
    said = decision_sentence("DEFECT", 30.0, 20.5, _map(53, 15), np.zeros((40, 60), bool))
    assert said == "Score 30 is 9.5 above the threshold 20.5; the highest spot is at 53, 15."


def test_what_was_not_decided() -> None:
    assert "No pose that can be trusted" in decision_sentence("NOT LOCALISED", 99.0, 20.5, _map(1, 1), _mask())
    assert decision_sentence(None, 3.0, None) == decision_sentence(None, None, 20.5) == ""


def test_intervals_are_exact() -> None:
    """Of n without one the upper end is 1 - 0.025^(1 / n) (Clopper and Pearson)."""
    assert interval(0, 6) == pytest.approx((0, 1 - 0.025 ** (1 / 6)))
    assert interval(6, 6) == pytest.approx((0.025 ** (1 / 6), 1))


@pytest.mark.parametrize(
    ("count", "of", "promised", "said"),
    [
        (0, 6, 0.01, "95 % interval 0 to 46 %: too few pictures to judge the promised 1 %"),
        (3, 6, 0.1, "95 % interval 12 to 88 %: more than the promised 10 %"),
        (4, 500, 0.01, "95 % interval 0 to 2 %, promised 1 %"),
        (4, 18, None, "95 % interval 6 to 48 %"),
    ],
)
def test_a_rate_is_weighed(count: int, of: int, promised: float | None, said: str) -> None:
    assert rate_in_words(count, of, promised) == said
