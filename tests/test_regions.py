"""Regions of an anomaly map: boxes, areas, order and what counts as one."""

import numpy as np

from PAD_utils.score.regions import find_regions


def test_two_regions_with_their_boxes_areas_and_peaks() -> None:
    score = np.zeros((20, 30), np.float32)
    score[2:5, 3:8] = 2.0
    score[10:12, 20:21] = 5.0
    high, low = find_regions(score, 1.0)
    assert (high.left, high.top, high.width, high.height, high.area, high.peak) == (20, 10, 1, 2, 2, 5.0)
    assert (low.left, low.top, low.width, low.height, low.area, low.peak) == (3, 2, 5, 3, 15, 2.0)


def test_diagonal_neighbors_are_one_region() -> None:
    assert [r.area for r in find_regions(np.eye(4, dtype=np.float32) * 2, 1.0)] == [4]


def test_the_flank_of_a_peak_belongs_to_it_but_alone_is_no_region() -> None:
    score = np.zeros((9, 20), np.float32)
    score[4, 2:7] = 0.8
    score[4, 4] = 1.5
    score[4, 15] = 0.8
    (region,) = find_regions(score, 1.0)
    assert (region.left, region.width, region.area) == (2, 5, 5)


def test_nothing_above_the_threshold_is_no_region() -> None:
    assert find_regions(np.ones((5, 5), np.float32), 1.0) == []


def test_regions_are_ready_for_json() -> None:
    import json

    (region,) = find_regions(np.full((2, 3), 2.0, np.float32), 1.0)
    assert json.loads(json.dumps(region.as_json()))["area"] == 6
