"""Rigid motions. A transform is named `b_from_a`; twists are (rho, omega); all works on batches, differentiably."""

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL_ANGLE_SQ = 1e-8  # below this the Taylor series of sin(a)/a and its kin are exact in float64 to rounding


def skew(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix with skew(v) @ w = v x w."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).unflatten(-1, (3, 3))


def so3_exp(omega: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation by |omega| radians about omega (Rodrigues); smooth, with finite gradients, at zero."""
    a2 = (omega * omega).sum(-1)[..., None, None]
    small = a2 < _SMALL_ANGLE_SQ
    safe = torch.where(small, torch.ones_like(a2), a2)
    a = safe.sqrt()
    sin_term = torch.where(small, 1 - a2 / 6, a.sin() / a)
    cos_term = torch.where(small, 0.5 - a2 / 24, (1 - a.cos()) / safe)
    k = skew(omega)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    return eye + sin_term * k + cos_term * (k @ k)


def se3_exp(twist: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """The motion of a twist (rho, omega): rotation exp(omega), translation V(omega) rho (Barfoot 2017, eq. 7.86)."""
    rho, omega = twist[..., :3], twist[..., 3:]
    a2 = (omega * omega).sum(-1)[..., None, None]
    small = a2 < _SMALL_ANGLE_SQ
    safe = torch.where(small, torch.ones_like(a2), a2)
    a = safe.sqrt()
    b = torch.where(small, 0.5 - a2 / 24, (1 - a.cos()) / safe)
    c = torch.where(small, 1 / 6 - a2 / 120, (a - a.sin()) / (safe * a))
    k = skew(omega)
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    v = eye + b * k + c * (k @ k)
    return rigid(so3_exp(omega), (v @ rho[..., None])[..., 0])


def rigid(rotation: Float[Tensor, "*b 3 3"], translation: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """The 4x4 matrix of x -> rotation @ x + translation."""
    top = torch.cat((rotation, translation[..., None]), dim=-1)
    bottom = torch.cat((torch.zeros_like(top[..., :1, :3]), torch.ones_like(top[..., :1, :1])), dim=-1)
    return torch.cat((top, bottom), dim=-2)


def transformed(b_from_a: Float[Tensor, "*b _ 4"], point: Float[Tensor, "3"]) -> Float[Tensor, "*b 3"]:
    """The point of frame a in frame b, for many frames b; rows beyond the third are left out.

    Written out, for a library's product of a batch of matrices with one vector rounds as the batch is long.
    """
    m = b_from_a[..., :3, :]
    return m[..., 0] * point[0] + m[..., 1] * point[1] + m[..., 2] * point[2] + m[..., 3]


def rigid_inverse(b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """a_from_b of a rigid b_from_a, without a general matrix inverse."""
    r_t = b_from_a[..., :3, :3].transpose(-1, -2)
    return rigid(r_t, -(r_t @ b_from_a[..., :3, 3:])[..., 0])


def rotation_angle(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """The angle of a rotation in radians, in [0, pi]; exact near 0 and pi alike (atan2 of axis vector and trace)."""
    axis = torch.stack(
        (
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ),
        dim=-1,
    )
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(axis.norm(dim=-1), trace - 1)


def check_rigid(name: str, matrix: Float[Tensor, "4 4"], tolerance: float = 1e-4) -> None:
    """Raises ValueError, naming `name`, unless `matrix` is a finite rigid motion to within `tolerance`."""
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{name}: the pose holds NaN or infinity")
    r = matrix[:3, :3].double()
    off = (r @ r.T - torch.eye(3, dtype=torch.float64, device=r.device)).abs().max().item()
    if off > tolerance or torch.linalg.det(r).item() < 0:
        raise ValueError(f"{name}: the rotation is not orthonormal and right-handed (off by {off:.2g})")
    if (matrix[3] - matrix.new_tensor([0, 0, 0, 1])).abs().max().item() > tolerance:
        raise ValueError(f"{name}: the last row of the pose is not 0 0 0 1")
