"""What the pose kernels compute, in plain torch: renders by `reference`, derives by forward-mode autograd."""

from typing import NamedTuple

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from diff_gaussian_rasterization.reference.rasterize import COVARIANCE_DILATION, blend, project

# The same numbers, with their reasons, stand in csrc/common/pose.h; a test keeps them equal.
TWIST = 6
POSE_PARAMETERS = 8
RESIDUAL_BINS = 128
RESIDUAL_MAX = 0.5
HUBER_TUNING = 1.345
TUKEY_TUNING = 4.685
_BLOCK = 16  # px
ROBUST = ("l2", "huber", "tukey")  # in the order of the enumeration there


class Cloud(NamedTuple):
    """N Gaussians as in `rasterize`."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor


class Fits(NamedTuple):
    """B poses and what each is compared with; shapes in `pose_normal_equations`."""

    cam_from_world: Tensor
    intrinsics: Tensor
    width: int
    height: int
    background: Tensor
    targets: Tensor
    target_index: Tensor
    center: Tensor
    robust: str
    scale: Tensor
    gain: Tensor
    offset: Tensor
    target_alphas: Tensor | None
    alpha_weight: float
    detail: float


class NormalEquations(NamedTuple):
    """Per pose: hessian (B, 8, 8) = J^T W J and gradient (B, 8) = J^T W r over (rho, omega, gain, offset), the robust
    cost (B,) summed over the pixels, and the histogram (B, 128) int32 of residuals over the pixels that the model
    touches."""

    hessian: Tensor
    gradient: Tensor
    cost: Tensor
    histogram: Tensor


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
    """The prediction (4, H, W) (colors held to [0, 1], silhouette) at `parameters` (8,) = (twist, gain, offset), and
    the silhouette (H, W)."""
    pose = moved(fits.cam_from_world[view], parameters[:TWIST], fits.center)
    offsets, black = torch.zeros_like(cloud.means[:, :2]), torch.zeros_like(fits.background[view])
    splats = project(*cloud, pose, fits.intrinsics[view], fits.width, fits.height, offsets)
    splats = splats._replace(opacity=splats.opacity * compensation(splats.conic, fits.detail))
    drawn = blend(splats, fits.width, fits.height, black, _BLOCK)
    alpha = drawn[3:4]
    shaded = parameters[TWIST] * drawn[:3] + parameters[TWIST + 1] * alpha
    image = (shaded + (1 - alpha) * fits.background[view][:, None, None]).clamp(0, 1)
    return torch.cat((image, alpha)), alpha[0]


def compensation(conic: Tensor, detail: float) -> Tensor:
    """Share (M,) of its opacity that a splat of this conic (M, 3) keeps in a picture smaller than those it was fitted
    to."""
    a, b, c = conic.unbind(-1)
    determinant = 1 / (a * c - b * b)
    less = (1 - detail) * COVARIANCE_DILATION
    # Taking d off both variances of the dilated covariance: det - d (xx + yy) + d^2, where xx + yy = (a + c) det.
    fine = determinant - less * (a + c) * determinant + less**2
    return (fine / determinant).sqrt()


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
    picture = int(fits.target_index[view])
    target = fits.targets[picture].permute(2, 0, 1).to(dtype) / 255
    weights = torch.tensor([1.0, 1.0, 1.0, fits.alpha_weight]).to(target)[:, None, None]
    mask = torch.zeros_like(alpha) if fits.target_alphas is None else fits.target_alphas[picture].to(dtype) / 255
    weights = weights / weights.sum()
    residual = value - torch.cat((target, mask[None]))
    e = (weights * residual**2).sum(0).sqrt()
    weight, cost = robust_weights(fits.robust, fits.scale[view], e)
    jacobian = torch.stack(columns).flatten(1)
    pull = (weights * weight).flatten() * jacobian
    bins = (e[alpha > 0] * (RESIDUAL_BINS / RESIDUAL_MAX)).long().clamp_max(RESIDUAL_BINS - 1)
    histogram = torch.bincount(bins, minlength=RESIDUAL_BINS).to(torch.int32)
    return NormalEquations(pull @ jacobian.T, pull @ residual.flatten(), cost.sum(), histogram)
