"""The part told from what it stands on by a model of the whole scene: by place, where colors tell nothing.

GrabCut loses a yellow foot before a yellow table, and takes the shadow between two legs for the part. A short training
on the whole photographs puts everything where it is. What lies on the table is not the part. What stands clearly above
it is, if the first masks have at least an idea of it; the lower it is, the more of them must show it. The masks that
this gives decide once more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.rendering import lift_features, render_features
from gaussian_splatting.training.initialize import from_points
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.surroundings import Floor, train_scene
from gaussian_splatting.training.train import TrainResult
from gaussian_splatting.views import View
from PAD_utils.photos.table import Plane, find_table

_ITERATIONS = 900
_LEAST_DB = 18.0  # PSNR of a model of the scene that shows what is there: photographs reach 30, noise 11
_SHARE = 0.1  # of the pictures, that the part takes where nothing is known
_START_POINTS, _START_OPACITY = 1500, 0.1  # of the part: few and faint, for what is not needed must go again
_ON_TABLE, _CLEARLY_ABOVE = 0.015, 0.14  # radii of the part above the table
_SURE, _IDEA = 0.7, 0.15  # share of the masks that must show what is hardly above the table, and what clearly is
_SURELY_NOT = 0.3  # share of the masks: what fewer show may be the table
_TABLE_OFF, _TABLE_REACH, _TABLE_WIDTH = 0.3, 2.5, 0.03  # radii: off its first plane, away from the part, and thick
_REACH = 1.5  # radii of the part beyond which nothing of it is
_ROUNDS = 2
_SHOWN = 0.5  # of a pixel
_SPECK = 0.02  # of the largest piece
_SEED = 0
Mask = Bool[np.ndarray, "h w"]


class Place(NamedTuple):
    """Where the part stands: its center and radius, and the table (a, b, c, d; positive above it)."""

    center: Float[np.ndarray, "3"]
    radius: float
    table: Plane


def cut_by_place(
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]],
    cameras: Sequence[Camera],
    place: Place,
    inside: Float[np.ndarray, "n 3"],
    masks: Sequence[Mask] | None,
) -> list[Mask]:
    """The part in pictures (BGR) of the cameras' sizes, which are all one; no masks where no model explains them all.
    `inside`: points where it may be, to begin with; `masks`: where each picture shows it, roughly (None: that is not
    known)."""
    rgb = [torch.from_numpy(np.ascontiguousarray(picture[..., ::-1])) for picture in pictures]
    views = [View(str(i), camera, image) for i, (camera, image) in enumerate(zip(cameras, rgb, strict=True))]
    shown = [torch.full(picture.shape[:2], 0.5) for picture in pictures]
    if masks is not None:
        shown = [torch.from_numpy(mask).float() for mask in masks]
    trained = _scene(views, place, inside, _SHARE if masks is None else float(torch.stack(shown).mean()))
    if trained.psnr < _LEAST_DB:
        return []
    scene = trained.gaussians.detached()
    for _ in range(_ROUNDS):
        votes = _votes(scene, cameras, shown)
        place = place._replace(table=_table(scene, place, votes))
        part = _of_the_part(scene, place, votes)
        shown = [_rendered(scene, part, camera) for camera in cameras]
    return [mask.numpy() > 0 for mask in shown]


def _scene(views: Sequence[View], place: Place, inside: Float[np.ndarray, "n 3"], share: float) -> TrainResult:
    up = torch.from_numpy(place.table[:3]).float()
    floor = Floor(up, -float(place.table[3]), torch.from_numpy(place.center).float())
    generator = np.random.default_rng(_SEED)
    points = inside[generator.permutation(len(inside))[:_START_POINTS]]
    start = from_points(torch.from_numpy(points).float(), _colors(points, views, generator), 0, _START_OPACITY)
    config = TrainConfig.fast(_ITERATIONS)  # half a minute of a CPU; preparing photographs needs no GPU
    return train_scene(start, floor, views, share, config, device=torch.device("cpu"), seed=_SEED)


def _colors(
    points: Float[np.ndarray, "n 3"], views: Sequence[View], generator: np.random.Generator
) -> Float[Tensor, "n 3"]:
    """What some view shows at each point's place."""
    colors = torch.full((len(points), 3), 0.5)
    chosen = generator.integers(len(views), size=len(points))
    for number, view in enumerate(views):
        camera, mine = view.camera, torch.from_numpy(np.flatnonzero(chosen == number))
        pose = camera.cam_from_world.double()
        x, y, z = (torch.from_numpy(points[mine.numpy()]) @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        column = (camera.fx * x / z + camera.cx).long().clamp(0, camera.width - 1)
        row = (camera.fy * y / z + camera.cy).long().clamp(0, camera.height - 1)
        colors[mine] = view.image[row, column].float() / 255
    return colors


def _votes(scene: Gaussians, cameras: Sequence[Camera], masks: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """The share of what shows of each Gaussian that lies in the masks."""
    sums = torch.zeros(len(scene), 2)
    for camera, mask in zip(cameras, masks, strict=True):
        shown = torch.stack((mask, torch.ones(mask.shape)))
        sums += lift_features(scene, shown[None], [camera])[0]
    return sums[:, 0] / sums[:, 1].clamp_min(1e-3)


def _table(scene: Gaussians, place: Place, votes: Float[Tensor, "n"]) -> Plane:
    """The table again, from what the scene shows of it around the part; as before where that is no plane."""
    beside = scene.means[(votes < _SURELY_NOT)].double().numpy()
    flat = np.abs(beside @ place.table[:3] + place.table[3]) < _TABLE_OFF * place.radius
    near = np.linalg.norm(beside - place.center, axis=1) < _TABLE_REACH * place.radius
    found = find_table(beside[flat & near], _TABLE_WIDTH * place.radius)
    return place.table if found is None else found


def _of_the_part(scene: Gaussians, place: Place, votes: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
    table = torch.from_numpy(place.table).float()
    height = (scene.means @ table[:3] + table[3]) / place.radius
    near = (scene.means - torch.from_numpy(place.center).float()).norm(dim=1) < _REACH * place.radius
    needed = (_SURE * (1 - height / _CLEARLY_ABOVE)).clamp_min(_IDEA)
    return near & (height > _ON_TABLE) & (votes > needed)


def _rendered(scene: Gaussians, part: Bool[Tensor, "n"], camera: Camera) -> Float[Tensor, "h w"]:
    """Where the Gaussians of the part make most of what is seen; specks left out."""
    with torch.no_grad():
        drawn, _ = render_features(scene, part.float()[None, :, None], [camera])
    return torch.from_numpy(tidied((drawn[0, 0] > _SHOWN).numpy())).float()


def tidied(mask: Mask) -> Mask:
    """Holes of a few pixels filled, specks of a few pixels gone."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, facts, _ = cv2.connectedComponentsWithStats(closed)
    areas = facts[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas > _SPECK * areas.max(initial=0))
    return np.isin(labels, kept)
