"""`distCUDA2`: what 3DGS code calls to set the first size of its Gaussians."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = ["distCUDA2"]

NEIGHBORS = 3


@torch.no_grad()
def distCUDA2(points: Tensor) -> Tensor:
    """Mean squared distance (N,) of each of the points (N, 3) to its three nearest others, on the points' device.

    Exact, by a k-d tree on the CPU's cores wherever the points are. With fewer than four points the mean is over those
    there are; a single point gets 0. Not differentiable. Raises ValueError unless points is a finite float32 tensor of
    shape (N, 3).
    """
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 3:
        came = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"points: expected a tensor of shape (N, 3), got {came}")
    if points.dtype != torch.float32:
        raise ValueError(f"points: expected dtype torch.float32, got {points.dtype}")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("points: expected finite coordinates, got NaN or infinity")
    count = len(points)
    if count < 2:
        return points.new_zeros(count)
    array = points.double().cpu().numpy()
    nearest = min(NEIGHBORS + 1, count)  # the point itself included, at distance 0
    tree, threads = cKDTree(array), torch.get_num_threads()
    # SciPy's own threads (workers=...) go on writing into freed memory, and crash, where one of them cannot be started.
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda some: tree.query(some, k=nearest)[0], np.array_split(array, min(threads, count)))
        distances = np.concatenate(list(found))
    return torch.from_numpy((distances[:, 1:] ** 2).mean(1)).to(points)
