"""How far a rendering is from a picture, for people; training itself minimizes the rasterizer's `photometric_loss`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.rendering import WHITE, render
from gaussian_splatting.views import View

_PERFECT_MSE = 1e-10  # 100 dB: equal pictures have a finite PSNR


def psnr(image: Float[Tensor, "b 3 h w"], target: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b"]:
    """Peak signal-to-noise ratio of each picture in dB; the rendering is clamped to [0, 1] first."""
    difference = image.clamp(0, 1) - target.permute(0, 3, 1, 2).to(image) / 255
    return -10 * difference.square().mean((1, 2, 3)).clamp_min(_PERFECT_MSE).log10()


@torch.no_grad()
def mean_psnr(gaussians: Gaussians, views: Sequence[View], background: tuple[float, float, float] = WHITE) -> float:
    """Mean over the views of the PSNR of the model's rendering, in dB."""
    device = gaussians.means.device
    values = [psnr(render(gaussians, [view.camera], background).image, view.image[None].to(device)) for view in views]
    return torch.cat(values).mean().item()
