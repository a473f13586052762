"""`pose_normal_equations`: one Gauss-Newton step's worth of sums for many cameras and pictures at once."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diff_gaussian_rasterization.checks import check_gaussians, check_views, expect
from diff_gaussian_rasterization.constants import ROBUST
from diff_gaussian_rasterization.cpu import pose as cpu
from diff_gaussian_rasterization.ops import must_use_reference
from diff_gaussian_rasterization.reference.pose import pose_normal_equations_reference
from diff_gaussian_rasterization.types import Cloud, Fits, NormalEquations

if TYPE_CHECKING:
    from diff_gaussian_rasterization.cuda.rasterize import ListBuffers


@torch.no_grad()
def pose_normal_equations(cloud: Cloud, fits: Fits, buffers: "ListBuffers | None" = None) -> NormalEquations:
    """The normal equations of B poses of one cloud, each against its own picture.

    Pose b is compared with targets[target_index[b]], drawn over background[b]. A pixel predicts gain[b] * color +
    offset[b] * alpha + (1 - alpha) * background[b], held to [0, 1]. `robust` is "l2", "huber" or "tukey" of scale[b]
    times the usual tuning constant, on the root mean square of a pixel's residuals; a pose whose scale is 0 is left
    out, its results are zeros. The parameters are the twist (rho, omega) about the world point `center`, then gain and
    offset: R' = exp(omega) R, t' + R' c = t + R c + rho. The Jacobian is exact (the depth order held), spherical
    harmonics included. `detail` in (0, 1] is the squared size of the pictures over those that the model was fitted to.
    With `buffers`, on a GPU only, the call does not wait for the GPU, and everything is zero if the tile lists do not
    fit (ask `buffers.grow()` afterwards). Raises ValueError naming the argument that is wrong. Not differentiable.
    """
    _check(cloud, fits)
    cloud = Cloud(*map(Tensor.contiguous, cloud))
    fits = Fits(*(value.contiguous() if isinstance(value, Tensor) else value for value in fits))
    if cloud.means.is_cuda:
        from diff_gaussian_rasterization.cuda import pose as cuda

        return cuda.normal_equations(cloud, fits, buffers)
    if must_use_reference(cloud.means):
        return pose_normal_equations_reference(cloud, fits)
    return cpu.normal_equations(cloud, fits)


def _check(cloud: Cloud, fits: Fits) -> None:
    means = cloud.means
    check_gaussians(cloud)
    expect("scales", cloud.scales, (means.shape[0], 3), means)
    check_views(means, fits.cam_from_world, fits.intrinsics, fits.width, fits.height)
    views = fits.cam_from_world.shape[0]
    expect("background", fits.background, (views, 3), means)
    expect("center", fits.center, (3,), means)
    for name in ("scale", "gain", "offset"):
        expect(name, getattr(fits, name), (views,), means)
    expect("targets", fits.targets, ("Q", fits.height, fits.width, 3), means.new_empty(0, dtype=torch.uint8))
    expect("target_index", fits.target_index, (views,), means.new_empty(0, dtype=torch.int64))
    if fits.robust not in ROBUST:
        raise ValueError(f"robust: expected one of {', '.join(ROBUST)}, got {fits.robust!r}")
    if not 0 < fits.detail <= 1:
        raise ValueError(f"detail: expected a number above 0 and at most 1, got {fits.detail}")
