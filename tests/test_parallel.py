import pytest

from gaussian_splatting import parallel
from gaussian_splatting.parallel import even_parts


@pytest.mark.parametrize("count, most", [(0, 4), (1, 4), (4, 4), (5, 4), (65, 32), (210, 32), (7, 1)])
def test_parts_follow_each_other_and_differ_by_one_at_most(count: int, most: int) -> None:
    parts = even_parts(count, most)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == -(-count // most) and (not sizes or max(sizes) <= most and max(sizes) - min(sizes) <= 1)


def test_results_come_in_the_order_of_the_items() -> None:
    assert parallel.parallel(lambda x: x * x, range(1000)) == [x * x for x in range(1000)]
    assert parallel.parallel(str, []) == []
    assert parallel.parallel(lambda x: parallel.parallel(abs, [x, -x]), [1, 2, 3], "named") == [[1, 1], [2, 2], [3, 3]]


def test_the_first_error_is_raised_and_the_rest_left_out() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number >= 100:
            raise ValueError(f"item {number}")
        done.append(number)

    with pytest.raises(ValueError, match=r"item 100$"):
        parallel.parallel(work, range(100_000), "named")
    assert sorted(done) == list(range(100))


def test_a_thread_that_never_begins_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is where memory for its first line is lacking: it ends without a sign."""
    monkeypatch.setattr(parallel, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(parallel._thread, "start_new_thread", lambda function, arguments: 0)
    for work in (lambda: parallel.parallel(str, range(100)), lambda: list(parallel.ahead(iter([1])))):
        with pytest.raises(MemoryError, match="found no memory to begin"):
            work()
