"""The normal equations of poses on the CPU; `pose` checks the arguments and calls this."""

from functools import cache

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import POSE_PARAMETERS, RESIDUAL_BINS, ROBUST
from diff_gaussian_rasterization.cpu.loader import call
from diff_gaussian_rasterization.cpu.rasterize import project_and_bin
from diff_gaussian_rasterization.types import Cloud, Fits, NormalEquations


def normal_equations(cloud: Cloud, fits: Fits) -> NormalEquations:
    """As `pose_normal_equations`, from checked arguments."""
    scene = fits.scene(cloud)
    _, splats, lists = project_and_bin(scene)
    views, like = len(fits.cam_from_world), cloud.means
    upper = like.new_empty((views, POSE_PARAMETERS * (POSE_PARAMETERS + 1) // 2))
    gradient, cost = like.new_empty((views, POSE_PARAMETERS)), like.new_empty(views)
    histogram = torch.empty((views, RESIDUAL_BINS), dtype=torch.int32)
    call(
        "gs_pose",
        like.dtype,
        *(len(like), *cloud, scene.sh_count, views, fits.cam_from_world, fits.intrinsics, fits.width, fits.height),
        *(splats.splats, splats.slot_begin, lists.tile_begin, lists.entries, ROBUST.index(fits.robust)),
        *(fits.scale, fits.gain, fits.offset, fits.background, fits.center, float(fits.detail)),
        *(fits.target_index, fits.targets, upper, gradient, cost, histogram),
    )
    return NormalEquations(symmetric(upper), gradient, cost, histogram)


def symmetric(upper: Tensor) -> Tensor:
    """(B, 8, 8) from the upper triangles (B, 36), row by row."""
    return upper.index_select(1, _entries(upper.device)).view(-1, POSE_PARAMETERS, POSE_PARAMETERS)


@cache
def _entries(device: torch.device) -> Tensor:
    """Where in the upper triangle the entries of the whole matrix stand, row by row."""
    row, column = torch.triu_indices(POSE_PARAMETERS, POSE_PARAMETERS)
    entries = torch.zeros(POSE_PARAMETERS, POSE_PARAMETERS, dtype=torch.int64)
    entries[row, column] = entries[column, row] = torch.arange(len(row))
    return entries.flatten().to(device)
