"""The unit and origin that everything here computes in, whatever those of the user are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.camera import Camera, common_center

DISTANCE = 3.5  # units between the object and a camera: near what the papers' data have
_FAR = 1000.0  # units from the origin, where float32 moves a point by up to 3e-5 units, a hundredth of a pixel
_GRID = 2.0**20  # cameras stand on multiples of its inverse: 3e-7 of the distance, no pixel notices


@dataclass(frozen=True)
class World:
    """x_world = (x_user - center) * scale. The default is the user's own world."""

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    @staticmethod
    def around(intrinsics: Sequence[Camera], world_from_camera: Sequence[Float[Tensor, "4 4"]]) -> "World":
        """The world whose origin these cameras look at, from a median distance of DISTANCE.

        world_from_camera: the users' poses in Blender axes, float64.
        """
        eyes = torch.stack([pose[:3, 3] for pose in world_from_camera])
        shift = eyes.mean(0)  # first, exactly: rotations are orthonormal to 1e-4 only, the origin may be far away
        near = [_shifted(pose, pose[:3, 3] - shift) for pose in world_from_camera]
        placed = [camera.at_blender(pose) for camera, pose in zip(intrinsics, near, strict=True)]
        center = common_center(placed)
        distance = (eyes - shift - center).norm(dim=1).median().item()
        x, y, z = (shift + center).tolist()
        return World((x, y, z), DISTANCE / distance if distance > 0 else 1.0)

    @property
    def is_far(self) -> bool:
        """Whether the user's origin is so far away that float32 cannot hold positions near the object."""
        return max(map(abs, self.center)) * self.scale > _FAR

    def inward(self, world_from_camera: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
        """A pose of the user's world in this one.

        Rounded to a grid, so that one rig in any unit and place gives the same bits and with them the same decisions.
        """
        eye = (world_from_camera[:3, 3] - world_from_camera.new_tensor(self.center)) * self.scale
        return _shifted(world_from_camera, (eye * _GRID).round() / _GRID)

    def outward(self, world_from_camera: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
        """A pose of this world in the user's."""
        eye = world_from_camera[:3, 3] / self.scale + world_from_camera.new_tensor(self.center)
        return _shifted(world_from_camera, eye)


USERS_WORLD = World()


def _shifted(pose: Float[Tensor, "4 4"], eye: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    moved = pose.clone()
    moved[:3, 3] = eye
    return moved
