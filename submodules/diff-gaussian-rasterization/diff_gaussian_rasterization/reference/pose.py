"""What the pose kernels compute, in plain torch: renders by `reference`, derives by forward-mode autograd."""

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from diff_gaussian_rasterization.constants import (
    COVARIANCE_DILATION,
    POSE_PARAMETERS,
    RESIDUAL_BINS,
    RESIDUAL_MAX,
    TWIST,
)
from diff_gaussian_rasterization.formulas import robust_weights
from diff_gaussian_rasterization.reference.rasterize import blend, project
from diff_gaussian_rasterization.types import Cloud, Fits, NormalEquations

_BLOCK = 16  # px


def moved(cam_from_world: Tensor, twist: Tensor, center: Tensor) -> Tensor:
    """A camera (4, 4) moved to first order by a twist (rho, omega) about the world point `center`."""
    x, y, z = twist[3:].unbind()
    zero = torch.zeros_like(x)
    turn = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero)).unflatten(0, (3, 3))
    rotation = cam_from_world[:3, :3] + turn @ cam_from_world[:3, :3]
    pivot = cam_from_world[:3, :3] @ center + cam_from_world[:3, 3]
    top = torch.cat((rotation, (pivot + twist[:3] - rotation @ center)[:, None]), dim=1)
    return torch.cat((top, cam_from_world[3:]))


def predict(cloud: Cloud, fits: Fits, view: int, parameters: Tensor) -> tuple[Tensor, Tensor]:
    """The prediction (3, H, W), held to [0, 1], at `parameters` (8,) = (twist, gain, offset), and alpha (H, W)."""
    pose = moved(fits.cam_from_world[view], parameters[:TWIST], fits.center)
    scene = fits.scene(cloud)._replace(cam_from_world=pose[None], intrinsics=fits.intrinsics[view : view + 1])
    splats, _ = project(scene, 0)
    splats = splats._replace(opacity=splats.opacity * compensation(splats.conic, fits.detail))
    drawn = blend(splats, fits.width, fits.height, torch.zeros_like(fits.background[view]), _BLOCK)
    alpha = drawn[3]
    shaded = parameters[TWIST] * drawn[:3] + parameters[TWIST + 1] * alpha
    return (shaded + (1 - alpha) * fits.background[view][:, None, None]).clamp(0, 1), alpha


def compensation(conic: Tensor, detail: float) -> Tensor:
    """Share (M,) of its opacity that a splat of this conic (M, 3) keeps in a picture smaller than those it was fitted
    to."""
    a, b, c = conic.unbind(-1)
    determinant = 1 / (a * c - b * b)
    less = (1 - detail) * COVARIANCE_DILATION
    # Taking d off both variances of the dilated covariance: det - d (xx + yy) + d^2, where xx + yy = (a + c) det.
    fine = determinant - less * (a + c) * determinant + less**2
    return (fine / determinant).sqrt()


def pose_normal_equations_reference(cloud: Cloud, fits: Fits) -> NormalEquations:
    """As `diff_gaussian_rasterization.pose.pose_normal_equations`, one view and one parameter after the other."""
    views = range(len(fits.cam_from_world))
    parts = [NormalEquations(*(part[None] for part in _equations(cloud, fits, view))) for view in views]
    if parts:
        return NormalEquations(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    empty = fits.cam_from_world.new_zeros
    bins = empty((0, RESIDUAL_BINS), dtype=torch.int32)
    return NormalEquations(empty((0, POSE_PARAMETERS, POSE_PARAMETERS)), empty((0, POSE_PARAMETERS)), empty(0), bins)


def _equations(cloud: Cloud, fits: Fits, view: int) -> NormalEquations:
    dtype = cloud.means.dtype
    if not fits.scale[view] > 0:
        zeros = cloud.means.new_zeros
        bins = zeros(RESIDUAL_BINS, dtype=torch.int32)
        return NormalEquations(zeros(POSE_PARAMETERS, POSE_PARAMETERS), zeros(POSE_PARAMETERS), zeros(()), bins)
    start = torch.cat((torch.zeros(TWIST).to(fits.gain), fits.gain[view : view + 1], fits.offset[view : view + 1]))
    columns = []
    for direction in torch.eye(POSE_PARAMETERS).to(start):
        with forward_ad.dual_level():
            prediction, alpha = predict(cloud, fits, view, forward_ad.make_dual(start, direction))
            value, tangent = forward_ad.unpack_dual(prediction)
            alpha = forward_ad.unpack_dual(alpha).primal
        columns.append(torch.zeros_like(value) if tangent is None else tangent)
    target = fits.targets[int(fits.target_index[view])].permute(2, 0, 1).to(dtype) / 255
    residual = value - target
    e = residual.square().mean(0).sqrt()
    weight, cost = robust_weights(fits.robust, fits.scale[view], e)
    jacobian = torch.stack(columns).flatten(1)
    pull = (weight / 3).expand_as(residual).flatten() * jacobian
    bins = (e[alpha > 0] * (RESIDUAL_BINS / RESIDUAL_MAX)).long().clamp_max(RESIDUAL_BINS - 1)
    histogram = torch.bincount(bins, minlength=RESIDUAL_BINS).to(torch.int32)
    return NormalEquations(pull @ jacobian.T, pull @ residual.flatten(), cost.sum(), histogram)
