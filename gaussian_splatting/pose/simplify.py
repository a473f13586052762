"""Fewer, larger Gaussians that look the same in small pictures: what coarse poses are searched with."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rotation_matrices

_MOST_OPAQUE = 0.99
_EIGH_AT_ONCE = 1 << 15  # cuSOLVER fails on batches of 65,536 and more
_THINNEST = 1e-2  # of the widest axis: flat clouds of points would give a covariance that cannot be divided by


def merged(gaussians: Gaussians, cell: float) -> Gaussians:
    """The Gaussians of each cubic cell (side in world units) as one, with their mean, covariance and mean color.

    Each counts by its opacity times its area, the product of its two largest axes. The opacity of the whole is that of
    as much matter spread over the area of the whole at random.
    """
    g = gaussians.detached()
    group, count = _cells(g.means, cell)
    widest = g.scales.sort(dim=1).values
    weight = g.opacities * widest[:, 1] * widest[:, 2]
    share = weight / _sum(weight, group, count).clamp_min(1e-20)[group]
    means = _sum(share[:, None] * g.means, group, count)
    away = g.means - means[group]
    spread = _covariances(g) + away[:, :, None] * away[:, None, :]
    scales, quats = _axes(_sum(share[:, None, None] * spread, group, count))
    area = scales.sort(dim=1).values[:, 1:].prod(1)
    opacities = (1 - torch.exp(-_sum(weight, group, count) / area)).clamp(1e-4, _MOST_OPAQUE)
    sh = _sum(share[:, None, None] * g.sh, group, count)
    return Gaussians(means, scales.log(), quats, torch.logit(opacities), sh)


def _cells(means: Float[Tensor, "n 3"], cell: float) -> tuple[Int[Tensor, "n"], int]:
    """The number of each mean's cell, counted over the cells that are not empty."""
    place = ((means - means.amin(0)) / cell).floor().long()
    size = place.amax(0) + 1
    key = (place[:, 0] * size[1] + place[:, 1]) * size[2] + place[:, 2]
    found, group = torch.unique(key, return_inverse=True)
    return group, len(found)


def _sum(values: Tensor, group: Int[Tensor, "n"], count: int) -> Tensor:
    """The values of each group added up, always in the same order."""
    zeros = values.new_zeros(count, *values.shape[1:])
    if values.is_cuda:  # where index_add_ takes any order
        return zeros.index_put_((group,), values, accumulate=True)
    return zeros.index_add_(0, group, values)


def _covariances(gaussians: Gaussians) -> Float[Tensor, "n 3 3"]:
    axes = rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    return axes @ axes.mT


def _axes(covariance: Float[Tensor, "m 3 3"]) -> tuple[Float[Tensor, "m 3"], Float[Tensor, "m 4"]]:
    """Standard deviations and wxyz quaternions of covariances."""
    parts = [torch.linalg.eigh(part) for part in covariance.split(_EIGH_AT_ONCE)]
    variance, axes = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    variance = torch.maximum(variance, _THINNEST**2 * variance[:, 2:]).clamp_min(1e-12)
    x, y, z = axes.unbind(2)
    axes = axes * (torch.linalg.cross(x, y) * z).sum(1).sign()[:, None, None]  # right-handed
    return variance.sqrt(), _quaternions(axes)


def _quaternions(rotation: Float[Tensor, "m 3 3"]) -> Float[Tensor, "m 4"]:
    """wxyz of rotations, from the largest of its four squares (Shepperd 1978)."""
    r = rotation
    trace = r.diagonal(dim1=1, dim2=2).sum(1)
    candidates = torch.stack(
        (
            torch.stack((1 + trace, r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]), dim=1),
            _from_axis(r, 0, 1, 2),
            _from_axis(r, 1, 2, 0),
            _from_axis(r, 2, 0, 1),
        ),
        dim=1,
    )
    best = candidates.norm(dim=2).argmax(1)
    chosen = candidates[torch.arange(len(r), device=r.device), best]
    return torch.nn.functional.normalize(chosen, dim=1)


def _from_axis(r: Float[Tensor, "m 3 3"], i: int, j: int, k: int) -> Float[Tensor, "m 4"]:
    """Four times the quaternion's component i times the quaternion; i, j, k cyclic."""
    out = r.new_empty(len(r), 4)
    out[:, 0] = r[:, k, j] - r[:, j, k]
    out[:, 1 + i] = 1 + r[:, i, i] - r[:, j, j] - r[:, k, k]
    out[:, 1 + j] = r[:, j, i] + r[:, i, j]
    out[:, 1 + k] = r[:, k, i] + r[:, i, k]
    return out
