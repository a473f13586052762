"""Distances to the nearest neighbors of a point cloud."""

from simple_knn.ops import distCUDA2

__all__ = ["distCUDA2"]
