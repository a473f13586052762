"""The bank of views rendered from the model itself: finer than the gallery."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from gaussian_splatting.background import Color, measured_backdrop
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.pose.types import object_center
from gaussian_splatting.rendering import WHITE, render
from gaussian_splatting.views import View
from PAD_utils.pose.retrieval import Bank, BankRetriever, gallery_bank
from PAD_utils.pose.silhouette import make_thumbnails

VIEWS = 1000  # over the full sphere: 6.9 degrees apart, a third of what refinement can undo
VIEW_PX = 64
_REACH_DEG = 30.0  # views further than this from every training view show what was never trained
_FRAME_FILL = 0.95  # share of the half frame that the object's outermost Gaussians reach
_OUTERMOST = 0.999  # share of the Gaussians within that reach
_CELL_PX = 1.5  # cells of the simplified model that is drawn
_BATCH = 32


def bank_retriever(gaussians: Gaussians, views: Sequence[View]) -> BankRetriever:
    """The retriever over views rendered from the model and the photographs that it was made from (`--retrieval bank`),
    on the device of the Gaussians. Photographs show what no rendering of a faulty model does."""
    background = measured_backdrop([view.image for view in views]).color
    rendered = make_bank(gaussians, [view.camera for view in views], background)
    return BankRetriever(rendered.cat(gallery_bank(views, gaussians.means.device)), "bank")


def make_bank(gaussians: Gaussians, gallery: Sequence[Camera], background: Color = WHITE) -> Bank:
    """Renders the model from a sphere of directions, as far away as the gallery, and keeps the thumbnails.

    Gaussians that no gallery frame shows, which nothing has taught, are left out."""
    gaussians = _shown(gaussians, gallery)
    cameras = view_sphere(gaussians, gallery)
    center = object_center(gaussians)
    distance = (cameras[0].center.to(center) - center).norm().item()
    simple = merged(gaussians, _CELL_PX * distance / cameras[0].fx)
    pictures = []
    with torch.no_grad():
        for first in range(0, len(cameras), _BATCH):
            image = render(simple, cameras[first : first + _BATCH], background).image
            pictures.append((image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))
    thumbnails = make_thumbnails(torch.cat(pictures), cameras)
    poses = torch.stack([camera.cam_from_world for camera in cameras]).to(thumbnails.ray)
    return Bank(thumbnails, poses, (poses[:, :3, :3] @ center.to(poses) + poses[:, :3, 3]).norm(dim=1))


def view_sphere(gaussians: Gaussians, gallery: Sequence[Camera]) -> list[Camera]:
    """Small cameras around the object's center, evenly spread over the directions near to a gallery view. They frame
    the object, but see no wider than the gallery: what lies outside its frames are floaters."""
    center = object_center(gaussians).double().cpu()
    from_center = torch.stack([camera.center for camera in gallery]) - center
    distance = from_center.norm(dim=1).median().item()
    offsets = (gaussians.means.detach().double().cpu() - center).norm(dim=1)
    radius = min(torch.quantile(offsets[:: len(offsets) // 100_000 + 1], _OUTERMOST).item(), 0.7 * distance)
    focal = _FRAME_FILL * 0.5 * VIEW_PX * math.sqrt(distance**2 - radius**2) / max(radius, 1e-6)
    gallery_slope = torch.tensor([max(c.width / c.fx, c.height / c.fy) for c in gallery]).median().item()
    focal = max(focal, VIEW_PX / gallery_slope)
    seen = from_center / from_center.norm(dim=1, keepdim=True)
    directions = fibonacci_sphere(VIEWS)
    near = (directions @ seen.T).amax(1) > math.cos(math.radians(_REACH_DEG))
    half = VIEW_PX / 2
    poses = look_at(center + distance * directions[near], center)
    return [Camera(VIEW_PX, VIEW_PX, focal, focal, half, half, pose) for pose in poses]


def _shown(gaussians: Gaussians, gallery: Sequence[Camera]) -> Gaussians:
    """The Gaussians whose centers lie in the frame of a camera of the gallery; all of them if there are none."""
    means = gaussians.means.detach()
    shown = torch.zeros(len(gaussians), dtype=torch.bool, device=means.device)
    for camera in gallery:
        pose = camera.cam_from_world.to(means)
        x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        column, row = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        shown |= (z > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    if shown.all() or not shown.any():
        return gaussians
    return Gaussians(**{name: tensor[shown] for name, tensor in gaussians.as_dict().items()})


def fibonacci_sphere(count: int) -> Float[Tensor, "n 3"]:
    """`count` unit vectors, nearly evenly spread (golden-angle spiral)."""
    i = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * i + 1) / count
    angle = i * math.pi * (3 - math.sqrt(5))
    ring = (1 - z * z).sqrt()
    return torch.stack((ring * angle.cos(), ring * angle.sin(), z), dim=1)


def look_at(eyes: Float[Tensor, "n 3"], target: Float[Tensor, "3"]) -> Float[Tensor, "n 4 4"]:
    """cam_from_world of cameras at `eyes` that look at `target`, the world's z axis upwards in the picture, or where
    they look along it, its y axis."""
    forward = normalize(target - eyes, dim=1)
    y, z = torch.eye(3, dtype=eyes.dtype)[1:]
    up = torch.where(forward[:, :2].norm(dim=1, keepdim=True) < 1e-6, y, z)
    right = normalize(torch.linalg.cross(forward, up), dim=1)
    rotation = torch.stack((right, torch.linalg.cross(forward, right), forward), dim=1)
    return rigid(rotation, -(rotation * eyes[:, None]).sum(-1))
