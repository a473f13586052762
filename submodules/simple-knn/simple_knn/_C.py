"""`from simple_knn._C import distCUDA2`, as other 3DGS code imports it."""

from simple_knn import distCUDA2

__all__ = ["distCUDA2"]
