"""`distCUDA2`: what 3DGS code calls to set the first size of its Gaussians."""

import torch
from torch import Tensor

from simple_knn.reference import dist_reference


@torch.no_grad()
def distCUDA2(points: Tensor) -> Tensor:  # noqa: N802 (the name other 3DGS code calls)
    """Mean squared distance (N,) of each of the points (N, 3) to its three nearest others, on the points' device.

    With fewer than four points the mean is over those there are; a single point gets 0. Not differentiable.
    Raises ValueError unless points is a float32 tensor of shape (N, 3).
    """
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points: expected a tensor of shape (N, 3), got {getattr(points, 'shape', type(points))}")
    if points.dtype != torch.float32:
        raise ValueError(f"points: expected dtype torch.float32, got {points.dtype}")
    if points.is_cuda:
        from simple_knn import cuda

        return cuda.distances(points)
    return dist_reference(points)
