"""Pinhole cameras in OpenCV axes (x right, y down, z forward). Blender axes are turned here and nowhere else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.geometry import check_rigid, nearest_to_lines, rigid_inverse

# Blender/OpenGL cameras look along -z with y up: the same frame turned by half a turn about x.
_OPENCV_FROM_BLENDER = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True)
class Camera:
    """One view: picture size and intrinsics in pixels, and the rigid `cam_from_world` (4, 4), float64 on the CPU.

    A pixel (column i, row j) is sampled at its center (i + 0.5, j + 0.5).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    cam_from_world: Float[Tensor, "4 4"]

    @staticmethod
    def from_blender(
        world_from_camera: Float[Tensor, "4 4"], camera_angle_x_rad: float, width: int, height: int, name: str = "pose"
    ) -> "Camera":
        """A camera from a Blender/OpenGL camera-to-world matrix and the horizontal field of view.

        Raises ValueError, naming `name`, if the matrix is not a rigid motion.
        """
        f = 0.5 * width / math.tan(0.5 * camera_angle_x_rad)
        blank = Camera(width, height, f, f, width / 2, height / 2, torch.eye(4, dtype=torch.float64))
        return blank.at_blender(world_from_camera, name)

    def at_blender(self, world_from_camera: Float[Tensor, "4 4"], name: str = "pose") -> "Camera":
        """The same intrinsics at a Blender/OpenGL camera-to-world matrix. Raises ValueError as `from_blender`."""
        world_from_camera = torch.as_tensor(world_from_camera, dtype=torch.float64)
        check_rigid(name, world_from_camera)
        return self.moved(rigid_inverse(world_from_camera @ _OPENCV_FROM_BLENDER))

    def to_blender(self) -> Float[Tensor, "4 4"]:
        """The Blender/OpenGL camera-to-world matrix, as in transforms.json."""
        return blender_pose(self.cam_from_world)

    @property
    def camera_angle_x_rad(self) -> float:
        """The horizontal field of view in radians."""
        return 2 * math.atan(0.5 * self.width / self.fx)

    @property
    def center(self) -> Float[Tensor, "3"]:
        """The optical center in world units."""
        return rigid_inverse(self.cam_from_world)[:3, 3]

    def resized(self, width: int, height: int) -> "Camera":
        """The same view sampled with width x height pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy
        )

    def rolled(self, quarters: int) -> "Camera":
        """The pose of the camera whose picture is this one's turned by so many quarters, as `numpy.rot90`."""
        turn = torch.eye(4, dtype=torch.float64)
        turn[:2, :2] = torch.linalg.matrix_power(turn.new_tensor([[0, 1], [-1, 0]]), quarters % 4)
        return self.moved(turn @ self.cam_from_world)

    def moved(self, cam_from_world: Float[Tensor, "4 4"]) -> "Camera":
        """The same intrinsics at another pose."""
        return replace(self, cam_from_world=cam_from_world.detach().to("cpu", torch.float64))


def blender_pose(cam_from_world: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """The Blender/OpenGL camera-to-world matrix of a pose in OpenCV axes."""
    return rigid_inverse(cam_from_world) @ _OPENCV_FROM_BLENDER


def common_center(cameras: Sequence[Camera]) -> Float[Tensor, "3"]:
    """The world point nearest to the rays through the middles of the pictures (least squares), float64: what they were
    taken of. Where all rays are parallel, the one among the cameras."""
    middles = torch.tensor(
        [[(c.width / 2 - c.cx) / c.fx, (c.height / 2 - c.cy) / c.fy, 1.0] for c in cameras], dtype=torch.float64
    )
    cam_from_world = torch.stack([camera.cam_from_world for camera in cameras])
    rays = (cam_from_world[:, :3, :3] * middles[..., None]).sum(1)
    return nearest_to_lines(rigid_inverse(cam_from_world)[:, :3, 3], torch.nn.functional.normalize(rays, dim=1))


def depths_of_center(cameras: Sequence[Camera]) -> Float[Tensor, "v"]:
    """How far along each optical axis the common center lies, world units, float64; negative behind a camera."""
    world_from_camera = rigid_inverse(torch.stack([camera.cam_from_world for camera in cameras]))
    centers, axes = world_from_camera[:, :3, 3], world_from_camera[:, :3, 2]
    return ((common_center(cameras) - centers) * axes).sum(-1)


def stack_cameras(
    cameras: list[Camera], device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b 4"]]:
    """(cam_from_world (B, 4, 4), intrinsics (B, 4) as fx, fy, cx, cy) on the device.

    Raises ValueError unless all cameras share one picture size.
    """
    sizes = {(c.width, c.height) for c in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one batch must share one picture size, got {sorted(sizes)}")
    poses = torch.stack([c.cam_from_world for c in cameras])
    intrinsics = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras], dtype=torch.float64)
    return poses.to(device, dtype), intrinsics.to(device, dtype)
