"""`pose_normal_equations`: one Gauss-Newton step's worth of sums for many cameras and pictures at once."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diff_gaussian_rasterization.checks import check_gaussians, check_views, expect
from diff_gaussian_rasterization.cpu.loader import cpu_library
from diff_gaussian_rasterization.cpu.pose import normal_equations
from diff_gaussian_rasterization.reference.pose import (
    ROBUST,
    Cloud,
    Fits,
    NormalEquations,
    pose_normal_equations_reference,
)

if TYPE_CHECKING:
    from diff_gaussian_rasterization.cuda.rasterize import ListRoom


def pose_normal_equations(
    means: Tensor,
    scales: Tensor,
    quats: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cam_from_world: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    background: Tensor,
    targets: Tensor,
    target_index: Tensor,
    center: Tensor,
    robust: str,
    scale: Tensor,
    gain: Tensor,
    offset: Tensor,
    target_alphas: Tensor | None = None,
    alpha_weight: float = 0.0,
    detail: float = 1.0,
    room: "ListRoom | None" = None,
) -> NormalEquations:
    """The normal equations of B poses of one cloud (arguments as in `rasterize`), each against its own picture.

    targets uint8 (Q, H, W, 3) and target_index int64 (B,): pose b is compared with targets[target_index[b]], drawn over
    background (B, 3). A pixel predicts gain[b] * color + offset[b] * alpha + (1 - alpha) * background[b], held to
    [0, 1]. With alpha_weight > 0 the silhouette is a fourth channel of that weight, against target_alphas uint8 (Q,
    H, W). `robust` is "l2", "huber" or "tukey" of scale[b] times the usual tuning constant, on the root mean square
    of a pixel's residuals; a pose whose scale is 0 is left out, its results are zeros. The parameters are the twist
    (rho, omega) about the world point `center` (3,), then gain and offset: R' = exp(omega) R, t' + R' c = t + R c +
    rho. The Jacobian is exact (the depth order held), spherical harmonics included. With `room`, on a GPU only, the
    call does not wait for the GPU, and everything is zero if the tile lists do not fit (ask `room.grow()` afterwards).
    Raises ValueError naming the argument that is wrong. It is not differentiable itself.
    """
    check_gaussians(means, scales, quats, opacities, colors)
    check_views(means, cam_from_world, intrinsics, width, height)
    views = cam_from_world.shape[0]
    expect("background", background, (views, 3), means)
    expect("center", center, (3,), means)
    for name, value in (("scale", scale), ("gain", gain), ("offset", offset)):
        expect(name, value, (views,), means)
    _check_targets(means, targets, target_index, target_alphas, views, width, height)
    if robust not in ROBUST:
        raise ValueError(f"robust: expected one of {', '.join(ROBUST)}, got {robust!r}")
    if alpha_weight < 0 or (alpha_weight > 0) != (target_alphas is not None):
        raise ValueError(f"alpha_weight: expected a positive number with target_alphas, else 0, got {alpha_weight}")
    if not 0 < detail <= 1:
        raise ValueError(f"detail: expected a number above 0 and at most 1, got {detail}")
    cloud = Cloud(means, scales, quats, opacities, colors)
    fits = Fits(
        cam_from_world, intrinsics, width, height, background, targets, target_index, center, robust, scale, gain,
        offset, target_alphas, alpha_weight, detail,
    )  # fmt: skip
    with torch.no_grad():
        if means.is_cuda:
            from diff_gaussian_rasterization.cuda import pose as cuda_pose

            return cuda_pose.normal_equations(cloud, fits, room)
        if cpu_library() is None:
            return pose_normal_equations_reference(cloud, fits)
        return normal_equations(cloud, fits)


def _check_targets(
    means: Tensor,
    targets: Tensor,
    target_index: Tensor,
    target_alphas: Tensor | None,
    views: int,
    width: int,
    height: int,
) -> None:
    bytes_here, longs_here = means.new_empty(0, dtype=torch.uint8), means.new_empty(0, dtype=torch.int64)
    expect("targets", targets, ("Q", height, width, 3), bytes_here)
    expect("target_index", target_index, (views,), longs_here)
    if target_alphas is not None:
        expect("target_alphas", target_alphas, (targets.shape[0], height, width), bytes_here)
