"""The two formulas that kernels take from the host as tables, or that callers need beside the kernels."""

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import HUBER_TUNING, SSIM_RADIUS, SSIM_SIGMA, TUKEY_TUNING


def ssim_window(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The normalized 1-D Gaussian window (2 * SSIM_RADIUS + 1,); SSIM's window is its outer product with itself."""
    x = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-(x**2) / (2 * SSIM_SIGMA**2))
    return (weights / weights.sum()).to(device, dtype)


def robust_weights(robust: str, scale: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """(weight, cost) of residuals e >= 0; `robust` is "l2", "huber" or "tukey"."""
    if robust == "huber":
        limit = HUBER_TUNING * scale
        weight = torch.where(e > limit, limit / e.clamp_min(1e-30), torch.ones_like(e))
        return weight, torch.where(e > limit, limit * (e - 0.5 * limit), 0.5 * e * e)
    if robust == "tukey":
        limit = TUKEY_TUNING * scale
        keep = (1 - (e / limit) ** 2).clamp_min(0)
        return keep**2, limit**2 / 6 * (1 - keep**3)
    return torch.ones_like(e), 0.5 * e * e
