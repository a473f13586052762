"""A small object that tests can photograph: a ball of colored Gaussians, and cameras all around it."""

import math

import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.rendering import render
from gaussian_splatting.views import View

RADIUS = 0.5


def ball(count: int = 120, seed: int = 0, sh_degree: int = 0) -> Gaussians:
    """Opaque Gaussians on a sphere of radius 0.5 around the origin, colored by where they are."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1) * RADIUS
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = 0.4 * means / RADIUS / SH_C0
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    return Gaussians(means, torch.full((count, 3), math.log(0.07)), quats, torch.full((count,), 3.0), sh)


def cameras(count: int = 12, size: int = 48, distance: float = 3.0) -> list[Camera]:
    """Cameras on a spiral over the whole sphere, looking at the origin, 36 degrees wide."""
    result = []
    for i in range(count):
        z = 0.9 - 1.8 * i / max(1, count - 1)
        turn = i * math.pi * (3 - math.sqrt(5))
        back = torch.tensor([math.sqrt(1 - z * z) * math.cos(turn), math.sqrt(1 - z * z) * math.sin(turn), z])
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0, 1]), back), dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, torch.linalg.cross(back, right), back
        pose[:3, 3] = back * distance
        pose[:3, :3] = torch.linalg.qr(pose[:3, :3]).Q @ torch.diag(
            torch.linalg.qr(pose[:3, :3]).R.diagonal().sign()
        )  # float32 rounding away
        result.append(Camera.from_blender(pose, math.radians(36), size, size))
    return result


def views(model: Gaussians | None = None, count: int = 12, size: int = 48) -> list[View]:
    """Photographs of the ball on white."""
    taken = []
    for i, camera in enumerate(cameras(count, size)):
        image = render(model if model is not None else ball(), [camera]).image[0].clamp(0, 1)
        taken.append(View(f"{i}", camera, (image.permute(1, 2, 0) * 255).round().to(torch.uint8)))
    return taken
