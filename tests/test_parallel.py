import pytest

from gaussian_splatting.parallel import even_parts


@pytest.mark.parametrize("count, most", [(0, 4), (1, 4), (4, 4), (5, 4), (65, 32), (210, 32), (7, 1)])
def test_parts_follow_each_other_and_differ_by_one_at_most(count: int, most: int) -> None:
    parts = even_parts(count, most)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == -(-count // most) and (not sizes or max(sizes) <= most and max(sizes) - min(sizes) <= 1)
