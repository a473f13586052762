"""Distances to the nearest neighbors, against a comparison of every point with every other."""

import pytest
import torch
from simple_knn import _C, distCUDA2


def of_all_pairs(points: torch.Tensor) -> torch.Tensor:
    squared = (points[:, None].double() - points[None].double()).square().sum(-1)
    return squared.fill_diagonal_(torch.inf).topk(3, largest=False).values.mean(1).float()


def cloud(count: int) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("count", [4, 5, 13, 1500])
def test_equals_all_pairs(count: int, device: torch.device):
    points = cloud(count)
    found = distCUDA2(points.to(device))
    assert found.device.type == device.type and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), of_all_pairs(points))


def test_duplicates_count_as_neighbors():
    points = cloud(400)
    points[::3] = points[0]
    points[301:304] = points[301]
    torch.testing.assert_close(distCUDA2(points), of_all_pairs(points))


def test_points_on_a_line_and_on_one_spot():
    line = torch.zeros(100, 3)
    line[:, 1] = torch.arange(100)
    expected = torch.full((100,), 2.0)
    expected[[0, -1]] = (1 + 4 + 9) / 3
    torch.testing.assert_close(distCUDA2(line), expected)
    assert not distCUDA2(torch.ones(1000, 3)).any()


def test_fewer_than_four_points_average_over_those_there_are():
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    torch.testing.assert_close(distCUDA2(points), torch.tensor([2.5, 3.0, 4.5]))
    torch.testing.assert_close(distCUDA2(points[:2]), torch.tensor([1.0, 1.0]))
    assert distCUDA2(points[:1]).tolist() == [0.0]
    assert distCUDA2(points[:0]).shape == (0,)


def test_both_names_are_one_function_and_strided_points_are_taken():
    assert _C.distCUDA2 is distCUDA2
    points = cloud(50).T.contiguous().T
    torch.testing.assert_close(distCUDA2(points), of_all_pairs(points))


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
