"""A lopsided colored object that looks different from everywhere, and photographs of it: what the tests of poses
look for."""

import math

import torch
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import so3_exp
from gaussian_splatting.pose.types import object_center, retract
from gaussian_splatting.rendering import render
from PAD_utils.evaluate import pose_metrics
from PAD_utils.evaluate.pose_metrics import PoseError
from PAD_utils.pose.bank import look_at

ANGLE_X = math.radians(40)
DISTANCE = 3.5
# Lobes (x, y, z, radius) of the object: a body, a head, a tail and one leg.
LOBES = ((0.0, 0.0, 0.0, 0.45), (0.5, 0.1, 0.35, 0.28), (-0.6, -0.1, 0.2, 0.15), (0.2, 0.35, -0.45, 0.18))


def lopsided(count: int = 240, seed: int = 0, sh_degree: int = 0) -> Gaussians:
    """Opaque Gaussians on the surface of the lobes, colored in patches."""
    generator = torch.Generator().manual_seed(seed)
    lobes = torch.tensor(LOBES)
    share = lobes[:, 3] ** 2 / (lobes[:, 3] ** 2).sum()
    lobe = lobes[torch.multinomial(share, count, replacement=True, generator=generator)]
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    means = lobe[:, :3] + direction * lobe[:, 3:]
    patch = (means * 3.1 + 7).floor().long() @ torch.tensor([1, 5, 17]) % 97
    palette = torch.rand(97, 3, generator=generator) * 0.9
    sh = torch.zeros(count, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = (palette[patch] - 0.5) / SH_C0
    if sh_degree:
        sh[:, 1:] = 0.15 * torch.randn(sh[:, 1:].shape, generator=generator)
    log_scales = math.log(1.3 / math.sqrt(count)) + 0.3 * torch.randn(count, 3, generator=generator)
    quats = torch.randn(count, 4, generator=generator)
    return Gaussians(means, log_scales, quats, torch.full((count,), 3.0), sh)


def camera_at(direction: tuple[float, float, float], width: int = 64, height: int = 64) -> Camera:
    """A camera in this direction from the origin, looking at it."""
    eye = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0) * DISTANCE
    blank = Camera.from_blender(torch.eye(4, dtype=torch.float64), ANGLE_X, width, height)
    return blank.moved(look_at(eye[None], torch.zeros(3, dtype=torch.float64))[0])


def disturbed(camera: Camera, gaussians: Gaussians, degrees: float, shift: float, seed: int = 0) -> Camera:
    """The camera turned about the object by so many degrees, and shifted by so many units, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(2, 3, generator=generator, dtype=torch.float64), dim=1)
    twist = torch.cat((axis[0] * shift, axis[1] * math.radians(degrees)))
    center = object_center(gaussians).double().cpu()
    return camera.moved(retract(camera.cam_from_world[None], twist[None], center)[0])


def rolled(camera: Camera, degrees: float) -> Camera:
    """The camera turned about its optical axis."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = so3_exp(torch.tensor([0.0, 0.0, math.radians(degrees)], dtype=torch.float64))
    return camera.moved(turn @ camera.cam_from_world)


def photograph(gaussians: Gaussians, camera: Camera) -> Tensor:
    """uint8 (h, w, 3) on white."""
    with torch.no_grad():
        image = render(gaussians, [camera]).image[0].clamp(0, 1)
    return (image.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu()


def pose_error(estimate: Camera, true: Camera) -> PoseError:
    """How far apart two cameras are."""
    return pose_metrics.pose_error(estimate.to_blender(), true.to_blender())
