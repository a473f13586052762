"""What cut-outs were cut out of: a model of the part and of all that stands around it, from the whole photographs.

The part's own model knows nothing of its surroundings, so nothing tells a burr before them from clutter. This one does,
as long as the surroundings are those of the good views.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.background import measured_backdrop
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.training.initialize import from_points, object_pixels
from gaussian_splatting.training.schedule import BUDGET_POWER, TrainConfig
from gaussian_splatting.training.train import TrainResult, train
from gaussian_splatting.views import View

SHORTER = 2  # than the training of the part
_BUDGET, _START_SHARE = 10.0, 0.5  # as TrainConfig.budget, but of all pixels: less fine than the part, which is enough
_POINTS = 12_000  # around the part, to begin with
_OPACITY, _SPREAD = 0.5, 0.6  # of these
_FAR = 4.0  # times the camera's distance: where a pixel that does not show the floor is placed
_LOWEST = 0.005  # share of the part's Gaussians below its foot


class Floor(NamedTuple):
    """The plane of points p with p . up = height, and the middle of what stands on it."""

    up: Float[Tensor, "3"]
    height: float
    middle: Float[Tensor, "3"]


def train_surroundings(
    part: Gaussians, views: Sequence[View], config: TrainConfig, *, device: torch.device, seed: int = 0
) -> Gaussians:
    """The part in its surroundings, on the device, from cut-outs that still hold their photographs (`View.uncut`), at
    the poses where the training of `part` left them. `config`: of a training `SHORTER` than that one.

    Raises ValueError if a view holds no photograph."""
    if any(view.uncut is None for view in views):
        raise ValueError("surroundings are learned from cut-outs that hold the photograph they were made of")
    height, width = views[0].image.shape[:2]
    share = object_pixels(views, measured_backdrop([view.image for view in views])) / (width * height)
    floor, config = _under(part, views), replace(config, align_at=())
    return train_scene(part, floor, views, share, config, device=device, seed=seed).gaussians.detached()


def train_scene(
    part: Gaussians,
    floor: Floor,
    views: Sequence[View],
    share: float,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int = 0,
) -> TrainResult:
    """The part and all around it, on the device, from whole photographs: those of cut-outs, pictures of other views.
    `part`: what its training begins with; `share`: of the pictures' pixels that show it."""
    whole = [replace(view, uncut=_opaque(view.photograph)) for view in views]
    config = replace(config, budget=_BUDGET / max(share, 1e-3) ** BUDGET_POWER, start_share=_START_SHARE)
    start = _together(part.detached(), _around(floor, views, seed).to(device))
    return train(whole, config, device=device, seed=seed, start=start, name="surroundings")


def _opaque(photograph: Tensor) -> Tensor:
    return torch.cat((photograph, torch.full_like(photograph[..., :1], 255)), dim=-1)


def _under(part: Gaussians, views: Sequence[View]) -> Floor:
    """The plane under the part's foot."""
    up = -torch.stack([view.camera.cam_from_world[1, :3] for view in views]).mean(0).float()
    up = up / up.square().sum().sqrt().clamp_min(1e-6)
    means = part.means.detach().cpu()
    return Floor(up, (means * up).sum(1).quantile(_LOWEST).item(), means.median(0).values)


def _around(floor: Floor, views: Sequence[View], seed: int) -> Gaussians:
    """Pixels of the photographs where their rays meet the floor; others far off."""
    generator = torch.Generator().manual_seed(seed)
    placed = [_on_floor(view, floor, _POINTS // len(views) + 1, generator) for view in views]
    points, colors = (torch.cat(parts) for parts in zip(*placed, strict=True))
    return from_points(points, colors, 0, _OPACITY, _SPREAD)


def _on_floor(
    view: View, floor: Floor, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Places and colors of random pixels of a view."""
    camera = view.camera
    column, row = torch.rand(2, count, generator=generator) * torch.tensor([[camera.width], [camera.height]])
    ray, center = _rays(camera, column, row), camera.center.float()
    along = (floor.height - (center * floor.up).sum()) / (ray * floor.up).sum(1)
    far = _FAR * (center - floor.middle).norm()
    along = torch.where((along > 0) & (along < far), along, far)
    color = view.photograph[row.long().clamp(max=camera.height - 1), column.long().clamp(max=camera.width - 1)]
    return center + along[:, None] * ray, color.float() / 255


def _rays(camera: Camera, column: Float[Tensor, "n"], row: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """Directions in the world, as long as makes their depth 1."""
    x, y = (column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy
    right, down, ahead = camera.cam_from_world[:3, :3].float().unbind(0)
    return x[:, None] * right + y[:, None] * down + ahead


def _together(part: Gaussians, around: Gaussians) -> Gaussians:
    """Both, with constant colors: harmonics grow in training."""
    some, others = part.as_dict(), around.as_dict()
    some["sh"] = some["sh"][:, :1]
    return Gaussians(**{name: torch.cat((some[name], others[name])) for name in some})
