"""Rigid motions. A transform is named `b_from_a`; twists are (rho, omega); all works on batches, differentiably."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

# a^2 below which six terms of the series of (a - sin(a))/a^3 and its kin are exact to rounding: the first term left out
# is about a^12 / 15! of the first, and 1e9 is well below 15!.
_SERIES_BELOW = {dtype: float(torch.finfo(dtype).eps * 1e9) ** (1 / 6) for dtype in (torch.float32, torch.float64)}


def smallest_three(quats: Float[np.ndarray, "n 4"]) -> tuple[Int64[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Which part of each quaternion, made a unit one, is the largest; and the other three, of the sign that makes the
    largest positive: it follows from them, and they lie within sqrt(1/2). Formats of splats store rotations so."""
    q = quats / np.linalg.norm(quats, axis=1, keepdims=True).clip(1e-12)
    largest = np.abs(q).argmax(1)
    q = q * np.where(q[np.arange(len(q)), largest] < 0, -1, 1)[:, None]
    return largest, q[np.arange(4) != largest[:, None]].reshape(-1, 3)


def rotation_coefficients(
    angle_sq: Float[Tensor, "*b"],
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """sin(a)/a, (1 - cos(a))/a^2 and (a - sin(a))/a^3 of a^2, exact to a few roundings in float32 and float64 alike.

    1 - cos(a) is 2 sin^2(a/2), which does not cancel. Below an angle chosen by the type, where a - sin(a) would lose
    digits and 0/0 is near, Taylor series take over: their first term left out is below the rounding.
    """
    small = angle_sq < _SERIES_BELOW[angle_sq.dtype]
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    a, x = safe.sqrt(), angle_sq
    half = (a / 2).sin() / a
    series = (
        1 - x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72 * (1 - x / 110)))),
        0.5 - x / 24 * (1 - x / 30 * (1 - x / 56 * (1 - x / 90 * (1 - x / 132)))),
        1 / 6 - x / 120 * (1 - x / 42 * (1 - x / 72 * (1 - x / 110 * (1 - x / 156)))),
    )
    closed = a.sin() / a, 2 * half * half, (a - a.sin()) / (safe * a)
    sine, cosine, third = (torch.where(small, s, c) for s, c in zip(series, closed, strict=True))
    return sine, cosine, third


def skew(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix with skew(v) @ w = v x w."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).unflatten(-1, (3, 3))


def so3_exp(omega: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation by |omega| radians about omega (Rodrigues); smooth, with finite gradients, at zero."""
    sin_term, cos_term, _ = rotation_coefficients((omega * omega).sum(-1)[..., None, None])
    k = skew(omega)
    eye = torch.eye(3, dtype=omega.dtype, device=omega.device)
    return eye + sin_term * k + cos_term * (k @ k)


def se3_exp(twist: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 4 4"]:
    """The motion of a twist (rho, omega): rotation exp(omega), translation V(omega) rho (Barfoot 2017, eq. 7.86)."""
    rho, omega = twist[..., :3], twist[..., 3:]
    _, b, c = rotation_coefficients((omega * omega).sum(-1)[..., None, None])
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


def solved_by_cofactors(matrix: Float[Tensor, "3 3"], target: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """The x of `matrix @ x = target` (Cramer's rule). A library's solver rounds as it has threads to spare: what a
    training starts from may not."""
    a, b, c = matrix.unbind(0)
    adjugate = torch.stack([torch.linalg.cross(*rows) for rows in ((b, c), (c, a), (a, b))], dim=1)
    return (adjugate * target).sum(1) / (a * adjugate[:, 0]).sum()


def nearest_to_lines(points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "3"]:
    """The point nearest to the lines through `points` along unit `directions` (least squares), float64. Where all lines
    are parallel, the one nearest to the mean of the points."""
    points, directions = points.double(), directions.double()
    mean, eye = points.mean(0), torch.eye(3, dtype=torch.float64)
    across = eye - directions[:, :, None] * directions[:, None, :]
    toward = (across * (points - mean)[:, None, :]).sum(2).mean(0)
    # The small multiple of the identity decides where all lines are parallel.
    return mean + solved_by_cofactors(across.mean(0) + 1e-9 * eye, toward)


def rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of unnormalized wxyz quaternions."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


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
    m = matrix.detach().cpu().double().numpy()  # in NumPy, whose small matrices take a third of torch's time
    if not np.isfinite(m).all():
        raise ValueError(f"{name}: the pose holds NaN or infinity")
    off = np.abs(m[:3, :3] @ m[:3, :3].T - np.eye(3)).max()
    if off > tolerance or np.linalg.det(m[:3, :3]) < 0:
        raise ValueError(f"{name}: the rotation is not orthonormal and right-handed (off by {off:.2g})")
    if np.abs(m[3] - (0, 0, 0, 1)).max() > tolerance:
        raise ValueError(f"{name}: the last row of the pose is not 0 0 0 1")
