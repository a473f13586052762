"""The normal equations of poses on a GPU; `pose` checks the arguments and calls this."""

import torch

from diff_gaussian_rasterization.constants import POSE_PARAMETERS, RESIDUAL_BINS, ROBUST
from diff_gaussian_rasterization.cpu.pose import symmetric
from diff_gaussian_rasterization.cuda.launch import launch
from diff_gaussian_rasterization.cuda.rasterize import BLEND_WARPS, Grid, ListBuffers, project_and_bin
from diff_gaussian_rasterization.types import Cloud, Fits, NormalEquations

_UPPER = POSE_PARAMETERS * (POSE_PARAMETERS + 1) // 2


def normal_equations(cloud: Cloud, fits: Fits, buffers: ListBuffers | None = None) -> NormalEquations:
    """As `pose_normal_equations`, from checked arguments. Sums are taken in double, so their order hardly shows."""
    scene = fits.scene(cloud)
    _, splats, lists = project_and_bin(scene, buffers)
    views, device, grid = len(fits.cam_from_world), cloud.means.device, Grid(fits.width, fits.height)
    sums = torch.zeros(views, _UPPER + POSE_PARAMETERS + 1, dtype=torch.float64, device=device)
    histogram = torch.zeros(views, RESIDUAL_BINS, dtype=torch.int32, device=device)
    launch(
        device, "pose_sums", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, len(cloud.means), scene.sh_count, fits.width, fits.height,
        lists.flag, lists.starts, lists.ends, lists.entries, splats,
        cloud.means, cloud.scales, cloud.quats, cloud.colors,
        fits.cam_from_world, fits.intrinsics, fits.center, ROBUST.index(fits.robust),
        fits.scale, fits.gain, fits.offset, fits.background, float(fits.detail),
        fits.target_index, fits.targets, sums, histogram,
    )  # fmt: skip
    upper, gradient, cost = sums.to(cloud.means.dtype).split((_UPPER, POSE_PARAMETERS, 1), dim=1)
    return NormalEquations(symmetric(upper), gradient.contiguous(), cost[:, 0].contiguous(), histogram)
