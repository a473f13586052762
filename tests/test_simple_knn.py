"""Neighbor distances against scipy's k-d tree, an oracle of another make."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from simple_knn import _C, cpu, distCUDA2, ops
from simple_knn.reference import dist_reference


def by_scipy(points: torch.Tensor) -> torch.Tensor:
    array = points.double().numpy()
    distances, _ = cKDTree(array).query(array, k=4)
    return torch.from_numpy((distances[:, 1:] ** 2).mean(1))


@pytest.fixture(params=[cpu.distances, dist_reference])
def distances(request: pytest.FixtureRequest):
    return request.param


@pytest.mark.parametrize("count", [4, 5, 12, 13, 257, 3000])
def test_equals_scipy(distances, count: int):
    points = torch.from_numpy(np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32))
    torch.testing.assert_close(distances(points).double(), by_scipy(points), rtol=1e-5, atol=1e-7)


def test_duplicates_count_as_neighbors(distances):
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32))
    points[::3] = points[0]
    points[301:304] = points[301]
    torch.testing.assert_close(distances(points).double(), by_scipy(points), rtol=1e-5, atol=1e-7)


def test_points_on_a_line_and_on_one_spot(distances):
    line = torch.zeros(100, 3)
    line[:, 1] = torch.arange(100)
    expected = torch.full((100,), 2.0)
    expected[[0, -1]] = (1 + 4 + 9) / 3
    torch.testing.assert_close(distances(line), expected)
    assert not distances(torch.ones(1000, 3)).any()


def test_fewer_than_four_points_average_over_those_there_are(distances):
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    torch.testing.assert_close(distances(points), torch.tensor([2.5, 3.0, 4.5]))
    torch.testing.assert_close(distances(points[:2]), torch.tensor([1.0, 1.0]))
    assert distances(points[:1]).tolist() == [0.0]
    assert distances(points[:0]).shape == (0,)


def test_both_names_are_one_function_and_the_kernel_was_built():
    assert _C.distCUDA2 is distCUDA2
    assert cpu.library() is not None, "pip install the submodules with a C++ compiler at hand"
    points = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)).T
    torch.testing.assert_close(distCUDA2(points), dist_reference(points))


def test_without_the_kernel_the_reference_runs(monkeypatch: pytest.MonkeyPatch):
    points = torch.rand(50, 3)
    expected = distCUDA2(points)
    monkeypatch.setattr(ops.cpu, "library", lambda: None)
    torch.testing.assert_close(distCUDA2(points), expected)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.zeros(4, 2), r"points: expected a tensor of shape \(N, 3\), got \(4, 2\)"),
        (torch.zeros(4, 3).double(), "points: expected dtype torch.float32, got torch.float64"),
        (torch.full((4, 3), torch.nan), "points: expected finite coordinates"),
        ([[0.0, 0.0, 0.0]], "got list"),
    ],
)
def test_wrong_input_is_named(points: object, words: str):
    with pytest.raises(ValueError, match=words):
        distCUDA2(points)
