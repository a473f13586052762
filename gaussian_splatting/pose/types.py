"""What a pose refinement takes and gives, and the one retraction that every refiner moves cameras with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid, so3_exp, transformed


@dataclass(frozen=True)
class PoseEstimate:
    """Where a picture was taken: rendering `camera` again gives the very picture that was compared. `cost` is the
    refiner's own measure at that camera (lower is better; not finite where the fit failed); `reason` says why, where
    `converged` is false. `unexplained`: share of the picture's contrast that the rendering leaves unexplained, by which
    `PoseJudge` judges; None where it is not known any more."""

    camera: Camera
    cost: float
    iterations: int
    converged: bool
    reason: str | None = None
    unexplained: float | None = None


@runtime_checkable
class Refiner(Protocol):
    """Turns coarse poses into exact ones."""

    @property
    def name(self) -> str:
        """As in metrics.json."""
        ...

    def refine(
        self, gaussians: Gaussians, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> list[PoseEstimate]:
        """One estimate per picture, from at least one hypothesis each, best first; cameras have the pictures' size."""
        ...


def object_center(gaussians: Gaussians) -> Float[Tensor, "3"]:
    """The opacity-weighted mean of the Gaussians: turning about it moves the picture least."""
    weight = gaussians.opacities.detach().double()
    center = (weight[:, None] * gaussians.means.detach().double()).sum(0) / weight.sum().clamp_min(1e-12)
    return center.to(gaussians.means.dtype)


def usual_distance(gaussians: Gaussians, cameras: Sequence[Camera]) -> float:
    """The median distance of cameras from the object's center, world units."""
    center = object_center(gaussians).double().cpu()
    return float(torch.stack([(camera.center - center).norm() for camera in cameras]).median())


def retract(
    cam_from_world: Float[Tensor, "b 4 4"], twist: Float[Tensor, "b 6"], center: Float[Tensor, "3"]
) -> Float[Tensor, "b 4 4"]:
    """Moves cameras by twists (rho, omega) about the object's center c: R' = exp(omega) R and t' + R' c = t + R c +
    rho.

    Turning and shifting are nearly independent then, since a turn leaves the object where it is in the picture.
    """
    rotation = so3_exp(twist[..., 3:]) @ cam_from_world[..., :3, :3]
    center_in_camera = transformed(cam_from_world, center)
    turned = transformed(rigid(rotation, torch.zeros_like(center_in_camera)), center)
    return rigid(rotation, center_in_camera + twist[..., :3] - turned)


def check_refine_arguments(images: Tensor, hypotheses: list[list[Camera]]) -> None:
    """Raises ValueError unless there is a list of at least one camera of the right size for every picture."""
    if len(images) != len(hypotheses):
        raise ValueError(f"refine: {len(images)} pictures, but hypotheses for {len(hypotheses)}")
    height, width = images.shape[1:3]
    for i, cameras in enumerate(hypotheses):
        if not cameras:
            raise ValueError(f"refine: picture {i} has no hypothesis to start from")
        for camera in cameras:
            if (camera.width, camera.height) != (width, height):
                raise ValueError(f"refine: a {camera.width}x{camera.height} camera for a {width}x{height} picture")
