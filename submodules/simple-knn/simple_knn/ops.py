"""`distCUDA2`: what 3DGS code calls to set the first size of its Gaussians."""

import torch
from torch import Tensor

from simple_knn import cpu
from simple_knn.reference import dist_reference


@torch.no_grad()
def distCUDA2(points: Tensor) -> Tensor:
    """Mean squared distance (N,) of each of the points (N, 3) to its three nearest others, on the points' device.

    With fewer than four points the mean is over those there are; a single point gets 0. Not differentiable.
    Raises ValueError unless points is a finite float32 tensor of shape (N, 3).
    """
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 3:
        came = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"points: expected a tensor of shape (N, 3), got {came}")
    if points.dtype != torch.float32:
        raise ValueError(f"points: expected dtype torch.float32, got {points.dtype}")
    if not bool(torch.isfinite(points).all()):
        raise ValueError("points: expected finite coordinates, got NaN or infinity")
    if points.is_cuda:
        from simple_knn import cuda

        return cuda.distances(points)
    return dist_reference(points) if cpu.library() is None else cpu.distances(points)
