"""The world of a class: the point that the cameras look at is its origin, their median distance DISTANCE, z is up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DISTANCE = 4.0  # units; the cameras of MAD-Sim are 3 to 4 away
_AGREEING = 0.5  # length of the cameras' mean up vector from which they are taken to have been held upright
_FLAT = 0.15  # spread across a ring over the spread within it: below, the ring's axis is known well
_NEAR_AXIS_DEG = 40.0  # between the axis of the ring and the cameras' mean up
_ROUNDS = 10  # of weighting the optical axes
Pose = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Similarity:
    """x_new = scale * rotation @ x + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def points(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Points in the new world."""
        return self.scale * points @ self.rotation.T + self.shift

    def pose(self, cam_from_world: Pose) -> Pose:
        """The same camera in the new world; still a rigid motion, its unit being the new one."""
        moved = np.eye(4)
        moved[:3, :3] = cam_from_world[:3, :3] @ self.rotation.T
        moved[:3, 3] = self.scale * cam_from_world[:3, 3] - moved[:3, :3] @ self.shift
        return moved


def normalizing(poses: Sequence[Pose], up: Float[np.ndarray, "3"] | None = None) -> Similarity:
    """The similarity that puts cameras (cam_from_world, OpenCV axes) where the class wants them; `up` where known."""
    target = looked_at(poses)
    centers = camera_centers(poses)
    scale = DISTANCE / float(np.median(np.linalg.norm(centers - target, axis=1)))
    rotation = _to_z(up_axis(poses) if up is None else up)
    return Similarity(scale, rotation, -scale * rotation @ target)


def camera_centers(poses: Sequence[Pose]) -> Float[np.ndarray, "n 3"]:
    """Optical centers in the world."""
    return np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])


def looked_at(poses: Sequence[Pose]) -> Float[np.ndarray, "3"]:
    """The point nearest to all optical axes; axes that pass far from it count less (Cauchy weights)."""
    centers, axes = camera_centers(poses), np.stack([pose[2, :3] for pose in poses])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    weights = np.ones(len(poses))
    for _ in range(_ROUNDS):
        system = (weights[:, None, None] * across).sum(0)
        target = np.linalg.lstsq(system, (weights[:, None] * np.einsum("nij,nj->ni", across, centers)).sum(0))[0]
        misses = np.linalg.norm(np.einsum("nij,nj->ni", across, target - centers), axis=1)
        weights = 1 / (1 + (misses / max(2 * float(np.median(misses)), 1e-12)) ** 2)
    return np.asarray(target)


def up_axis(poses: Sequence[Pose]) -> Float[np.ndarray, "3"]:
    """Up, of length 1: the axis of a flat ring of cameras, turned the way they were held, or their mean up."""
    up = np.mean([-pose[1, :3] for pose in poses], axis=0)
    centers = camera_centers(poses)
    _, spread, directions = np.linalg.svd(centers - centers.mean(0), full_matrices=True)
    axis = directions[2] if up @ directions[2] >= 0 else -directions[2]
    upright = float(np.linalg.norm(up)) > _AGREEING
    flat = len(poses) > 3 and spread[2] < _FLAT * spread[1]
    near = up @ axis > np.cos(np.radians(_NEAR_AXIS_DEG)) * np.linalg.norm(up)
    if flat and (near or not upright) or not upright:
        return np.asarray(axis)
    return np.asarray(up / np.linalg.norm(up))


def _to_z(up: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A rotation that turns `up` to z."""
    side = np.eye(3)[np.argmin(np.abs(up))]
    x = np.cross(side, up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])
