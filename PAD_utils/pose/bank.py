"""The bank of views rendered from the model itself: finer than the gallery."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.pose.types import object_center
from gaussian_splatting.rendering import render
from PAD_utils.pose.retrieval import Bank, BankRetriever
from PAD_utils.pose.silhouette import make_thumbnails

VIEWS = 1000  # over the full sphere: 6.9 degrees apart, a third of what refinement can undo
VIEW_PX = 64
_REACH_DEG = 30.0  # views further than this from every training view show what was never trained
_FRAME_FILL = 0.95  # share of the half frame that the object's outermost Gaussians reach
_OUTERMOST = 0.999  # share of the Gaussians within that reach
_CELL_PX = 1.5  # cells of the simplified model that is drawn
_BATCH = 32


def bank_retriever(gaussians: Gaussians, gallery: Sequence[Camera]) -> BankRetriever:
    """The retriever over views rendered from the model (`--retrieval bank`), on the device of the Gaussians."""
    return BankRetriever(make_bank(gaussians, gallery), "bank")


def make_bank(gaussians: Gaussians, gallery: Sequence[Camera]) -> Bank:
    """Renders the model from a sphere of directions, as far away as the gallery, and keeps the thumbnails.

    They are rounded to half precision, in which they are saved: a bank that was read is the one that was made."""
    cameras = view_sphere(gaussians, gallery)
    center = object_center(gaussians)
    distance = (cameras[0].center.to(center) - center).norm().item()
    simple = merged(gaussians, _CELL_PX * distance / cameras[0].fx)
    pictures = []
    with torch.no_grad():
        for first in range(0, len(cameras), _BATCH):
            image = render(simple, cameras[first : first + _BATCH]).image
            pictures.append((image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))
    thumbnails = make_thumbnails(torch.cat(pictures), cameras)
    thumbnails = replace(thumbnails, polar=thumbnails.polar.half().float())
    poses = torch.stack([camera.cam_from_world for camera in cameras]).to(thumbnails.ray)
    return Bank(thumbnails, poses, (poses[:, :3, :3] @ center.to(poses) + poses[:, :3, 3]).norm(dim=1))


def view_sphere(gaussians: Gaussians, gallery: Sequence[Camera]) -> list[Camera]:
    """Small cameras around the object's center, evenly spread over the directions near to a gallery view."""
    center = object_center(gaussians).double().cpu()
    from_center = torch.stack([camera.center for camera in gallery]) - center
    distance = from_center.norm(dim=1).median().item()
    offsets = (gaussians.means.detach().double().cpu() - center).norm(dim=1)
    radius = min(torch.quantile(offsets[:: len(offsets) // 100_000 + 1], _OUTERMOST).item(), 0.7 * distance)
    focal = _FRAME_FILL * 0.5 * VIEW_PX * math.sqrt(distance**2 - radius**2) / max(radius, 1e-6)
    seen = from_center / from_center.norm(dim=1, keepdim=True)
    directions = fibonacci_sphere(VIEWS)
    near = (directions @ seen.T).amax(1) > math.cos(math.radians(_REACH_DEG))
    half = VIEW_PX / 2
    return [
        Camera(VIEW_PX, VIEW_PX, focal, focal, half, half, look_at(center + distance * direction, center))
        for direction in directions[near]
    ]


def fibonacci_sphere(count: int) -> Float[Tensor, "n 3"]:
    """`count` unit vectors, nearly evenly spread (golden-angle spiral)."""
    i = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * i + 1) / count
    angle = i * math.pi * (3 - math.sqrt(5))
    ring = (1 - z * z).sqrt()
    return torch.stack((ring * angle.cos(), ring * angle.sin(), z), dim=1)


def look_at(eye: Float[Tensor, "3"], target: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """cam_from_world of a camera at `eye` that looks at `target`, the world's z axis upwards in the picture."""
    forward = (target - eye) / (target - eye).norm()
    up = torch.tensor([0.0, 0.0, 1.0], dtype=eye.dtype)
    if forward[:2].norm() < 1e-6:
        up = torch.tensor([0.0, 1.0, 0.0], dtype=eye.dtype)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm()
    rotation = torch.stack((right, torch.linalg.cross(forward, right), forward))
    return rigid(rotation, -(rotation @ eye))
