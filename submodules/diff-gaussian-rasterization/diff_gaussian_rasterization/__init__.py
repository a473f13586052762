"""Differentiable rasterization of 3D Gaussians on the CPU and on CUDA GPUs."""

from diff_gaussian_rasterization.compat import GaussianRasterizationSettings, GaussianRasterizer
from diff_gaussian_rasterization.features import lift_features, rasterize_features
from diff_gaussian_rasterization.ops import photometric_loss, rasterize
from diff_gaussian_rasterization.types import Rasterized, Scene

__all__ = [
    "GaussianRasterizationSettings",
    "GaussianRasterizer",
    "Rasterized",
    "Scene",
    "lift_features",
    "photometric_loss",
    "rasterize",
    "rasterize_features",
]
