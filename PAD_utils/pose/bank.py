"""The bank of views rendered from the model itself: finer than the gallery, and made once per model."""

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.files import torch_bytes
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.pose.types import object_center
from gaussian_splatting.rendering import render
from PAD_utils.files import write_bytes
from PAD_utils.pose.retrieval import Bank
from PAD_utils.pose.silhouette import Thumbnails, make_thumbnails

VIEWS = 1000  # over the full sphere: 6.9 degrees apart, a third of what refinement can undo
VIEW_PX = 64
_REACH_DEG = 30.0  # views further than this from every training view show what was never trained
_FRAME_FILL = 0.95  # share of the half frame that the object's outermost Gaussians reach
_OUTERMOST = 0.999  # share of the Gaussians within that reach
_CELL_PX = 1.5  # cells of the simplified model that is drawn
_BATCH = 32
_VERSION = 2  # part of the fingerprint: raise it when thumbnails or views change

_log = logging.getLogger(__name__)


def load_or_make_bank(path: Path, gaussians: Gaussians, gallery: Sequence[Camera]) -> Bank:
    """The bank of this very model: read from `path`, or made and saved there when it is missing, broken or of another
    model. It lives on the device of the Gaussians."""
    key = fingerprint(gaussians, gallery)
    device = gaussians.means.device
    bank = _read(path, key, device)
    if bank is None:
        bank = make_bank(gaussians, gallery)
        tensors = {**vars(bank.thumbnails), "cam_from_world": bank.cam_from_world, "distance": bank.distance}
        # Thumbnails are kept in half precision, here as on disk, so that a bank that was read is the one that was made.
        tensors["polar"] = tensors["polar"].half()
        bank = _bank({name: tensor.float() for name, tensor in tensors.items()})
        write_bytes(path, torch_bytes({"key": key, "tensors": {name: t.cpu() for name, t in tensors.items()}}))
    return bank


def make_bank(gaussians: Gaussians, gallery: Sequence[Camera]) -> Bank:
    """Renders the model from a sphere of directions, as far away as the gallery, and keeps the thumbnails."""
    cameras = view_sphere(gaussians, gallery)
    center = object_center(gaussians)
    distance = (cameras[0].center.to(center) - center).norm().item()
    simple = merged(gaussians, _CELL_PX * distance / cameras[0].fx)
    pictures = []
    with torch.no_grad():
        for first in range(0, len(cameras), _BATCH):
            image = render(simple, cameras[first : first + _BATCH]).image
            pictures.append((image.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))
    thumbnails = make_thumbnails(torch.cat(pictures), cameras[0].fx)
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


def fingerprint(gaussians: Gaussians, gallery: Sequence[Camera]) -> str:
    """Changes when the model, the gallery's cameras or the way of making a bank changes."""
    digest = hashlib.sha256(f"{_VERSION} {VIEWS} {VIEW_PX} {_REACH_DEG}".encode())
    for name, tensor in gaussians.as_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    for camera in gallery:
        digest.update(camera.cam_from_world.numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, key: str, device: torch.device) -> Bank | None:
    """The bank saved at `path` if it has this key, else None; a damaged file is made again, which loses nothing."""
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        if saved["key"] != key:
            return None
        return _bank({name: tensor.float() for name, tensor in saved["tensors"].items()})
    except Exception as error:  # unpickling a cut file raises nearly anything
        _log.warning("%s cannot be read (%s: %s); making it again", path, type(error).__name__, error)
        return None


def _bank(tensors: dict[str, Tensor]) -> Bank:
    cam_from_world, distance = tensors.pop("cam_from_world"), tensors.pop("distance")
    return Bank(Thumbnails(**tensors), cam_from_world, distance)
