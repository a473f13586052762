"""One optimization step on the CPU without autograd: draw, compare, differentiate, Adam, density statistics.

The same numbers as through `rasterize`, `photometric_loss` and torch's fused Adam, without a quarter of the time that
their many small operations take.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import PARAMETERS
from diff_gaussian_rasterization.cpu import rasterize as cpu
from diff_gaussian_rasterization.cpu.loader import Argument
from diff_gaussian_rasterization.types import PictureGradient, Scene


class Batch(NamedTuple):
    """What one step learns from: B cameras, their pictures uint8 (B, H, W, 3), the background (3,) they stand on."""

    cam_from_world: Tensor
    intrinsics: Tensor
    targets: Tensor
    background: Tensor


class Moments(NamedTuple):
    """Adam's memory, under the names of the parameters, and its constants."""

    exp_avg: Mapping[str, Tensor]
    exp_avg_sq: Mapping[str, Tensor]
    betas: tuple[float, float]
    eps: float


class Statistics(NamedTuple):
    """What density control reads, each (N,): `grad2d_sum` sums |dL_view/d(projected mean)| in units of half the
    picture's size over the views that draw a Gaussian, `grad2d_count` counts them."""

    grad2d_sum: Tensor
    grad2d_count: Tensor


def training_step(
    params: Mapping[str, Tensor],
    moments: Moments,
    statistics: Statistics,
    batch: Batch,
    *,
    step: int,
    rates: Mapping[str, float],
    ssim_weight: float,
) -> Tensor:
    """The loss of the batch before the step; `params`, `moments` and `statistics` are updated in place.

    params: the raw PARAMETERS of N Gaussians (means (N, 3), log_scales (N, 3), quats (N, 4), opacity_logits (N,),
    sh (N, K, 3)), contiguous, of one floating type. step counts from 1. rates holds a learning rate for each parameter
    and "sh_rest" for the harmonics beyond the first if there are any. Needs the compiled kernels (cpu_library()).
    """
    views, height, width, _ = batch.targets.shape
    means, log_scales, quats, logits, sh = (params[name].detach() for name in PARAMETERS)
    scales, opacities = torch.empty_like(log_scales), torch.empty_like(logits)
    count, dtype = means.shape[0], means.dtype
    cpu.call("gs_activate", dtype, count, log_scales, logits, scales, opacities)
    cameras = (batch.cam_from_world, batch.intrinsics)
    scene = Scene(means, scales, quats, opacities, sh, *cameras, width, height, batch.background)
    out = cpu.forward(scene)
    loss, v_image = cpu.photometric_loss(out.image, batch.targets, ssim_weight, True)
    v = cpu.backward(scene, out.state, PictureGradient(v_image, None, None))
    table = [rates[name] for name in PARAMETERS] + [rates.get("sh_rest", 0.0)]
    gradients = (v.means, v.scales, v.quats, v.opacities, v.colors)
    arguments: list[Argument] = [count, sh.shape[1]]
    for name, gradient in zip(PARAMETERS, gradients, strict=True):
        arguments += [params[name], moments.exp_avg[name], moments.exp_avg_sq[name], gradient]
    arguments += [scales, opacities, torch.tensor(table, dtype=torch.float64), *moments.betas, moments.eps, step]
    arguments += [views, v.screen_offsets, out.radii, width, height, *statistics]
    cpu.call("gs_train_step", dtype, *arguments)
    return loss
