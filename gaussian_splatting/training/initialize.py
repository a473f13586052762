"""Where training starts: the visual hull of an object on white, or the random cube of the paper."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from simple_knn import distCUDA2
from torch import Tensor

from gaussian_splatting.background import Backdrop, object_mask
from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import nearest_to_lines
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import check_room_for_threads, parallel
from gaussian_splatting.views import View

log = logging.getLogger(__name__)

_HULL_WIDTH = 200  # silhouettes are carved at most this wide (pixels): enough for a start
_HULL_VIEWS = 70  # evenly spaced views that carve and color: more make it slower, hardly tighter
_VIEWS_PER_FAULT = 50  # so many views may hold one bad mask or pose that must not cut the object
_START_CELLS = 16  # cells per side of the coarsest grid
_MAX_DEPTH = 6  # times the grid is refined at most: 1024 cells per side
_CELLS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 17}  # times the views: what stays in the caches, and in the memory
_HULL_SPREAD = 0.6  # of the distance to the neighbors: a surface closes with less overlap than a cloud
_MIN_SCALE = 1e-7  # squared distance floor of coincident points, as 3DGS


class NoHull(ValueError):
    """The pictures give no visual hull; the message says why."""


def random_cube(count: int, sh_degree: int, generator: torch.Generator) -> Gaussians:
    """The paper's start for Blender scenes: `count` gray points (harmonics near zero), uniform in [-1.3, 1.3]^3."""
    means = torch.rand(count, 3, generator=generator) * 2.6 - 1.3
    colors = 0.5 + SH_C0 * torch.rand(count, 3, generator=generator) / 255.0
    return from_points(means, colors, sh_degree, opacity=0.1)


def from_points(
    means: Float[Tensor, "n 3"], colors: Float[Tensor, "n 3"], sh_degree: int, opacity: float, spread: float = 1.0
) -> Gaussians:
    """Round Gaussians, their standard deviation `spread` times the distance to their neighbors; colors in [0, 1]."""
    n = means.shape[0]
    check_room_for_threads(torch.get_num_threads())  # distCUDA2 starts as many
    log_scales = 0.5 * distCUDA2(means.contiguous()).clamp_min(_MIN_SCALE).log() + math.log(spread)
    quats = means.new_zeros(n, 4)
    quats[:, 0] = 1
    sh = means.new_zeros(n, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = (colors - 0.5) / SH_C0
    logit = math.log(opacity / (1 - opacity))
    return Gaussians(means, log_scales[:, None].repeat(1, 3), quats, means.new_full((n,), logit), sh)


def visual_hull(
    views: Sequence[View],
    count: int,
    sh_degree: int,
    generator: torch.Generator,
    opacity: float,
    backdrop: Backdrop,
    device: torch.device | str = "cpu",
) -> Gaussians:
    """At most `count` Gaussians on the surface of the visual hull, colored by the views that see them, on `device`.

    Raises NoHull if there is no plain backdrop, or the silhouettes meet nowhere.
    """
    silhouettes = _silhouettes(views, backdrop, device)
    cells, size = carve(silhouettes, count)
    means = cells + (torch.rand(cells.shape, generator=generator) - 0.5).to(device) * size
    colors, seen = _colors(means, silhouettes, size)
    means, colors = means[seen], colors[seen]
    chosen = torch.randperm(means.shape[0], generator=generator)[:count].sort().values.to(device)
    return from_points(means[chosen], colors[chosen], sh_degree, opacity, _HULL_SPREAD)


@dataclass(frozen=True)
class Silhouettes:
    """Small pictures of the object, and their signed distance to the outline in pixels, positive inside."""

    images: UInt8[Tensor, "v h w 3"]
    distance: Float[Tensor, "v h w"]
    cam_from_world: Float[Tensor, "v 4 4"]
    intrinsics: Float[Tensor, "v 4"]

    def project(self, points: Float[Tensor, "n 3"]) -> "Seen":
        """The points in every view."""
        height, width = self.distance.shape[1:]
        x, y, depth = (
            row[:, 0:1] * points[:, 0] + row[:, 1:2] * points[:, 1] + row[:, 2:3] * points[:, 2] + row[:, 3:4]
            for row in self.cam_from_world[:, :3].unbind(1)
        )  # written out, as a library's product may round by the number of its threads
        fx, fy, cx, cy = self.intrinsics[..., None].unbind(1)
        safe = depth.clamp_min(1e-6)
        column, row = fx * x / safe + cx, fy * y / safe + cy
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
        column, row = column.clamp(0, width - 1).long(), row.clamp(0, height - 1).long()
        return Seen(inside, column, row, depth)

    def at(self, planes: Shaped[Tensor, "v h w *c"], seen: "Seen") -> Shaped[Tensor, "v n *c"]:
        """What a plane of each view holds where the points are seen."""
        view = torch.arange(len(planes), device=planes.device)[:, None]
        return planes[view, seen.row, seen.column]


class Seen(NamedTuple):
    """Points in every view: whether they lie in the picture, in which pixel, and how far off (world units)."""

    inside: Bool[Tensor, "v n"]
    column: Int64[Tensor, "v n"]
    row: Int64[Tensor, "v n"]
    depth: Float[Tensor, "v n"]


def _small_pictures(views: Sequence[View]) -> tuple[list[Camera], list[np.ndarray]]:
    """Cameras and pictures of the views that the hull is made from."""
    chosen = [views[i * len(views) // _HULL_VIEWS] for i in range(_HULL_VIEWS)] if len(views) > _HULL_VIEWS else views
    first = views[0].camera
    width = min(_HULL_WIDTH, first.width)
    height = max(1, round(first.height * width / first.width))
    images = parallel(lambda v: area_resize(v.image.numpy(), width, height), chosen)
    return [v.camera.resized(width, height) for v in chosen], images


def _silhouettes(views: Sequence[View], backdrop: Backdrop, device: torch.device | str) -> Silhouettes:
    if not backdrop.is_plain:
        raise NoHull(f"only {backdrop.plain:.0%} of the pictures' border shows one plain backdrop")
    cameras, images = _small_pictures(views)
    masks = parallel(lambda image: object_mask(image, backdrop), images)
    if not any(m.any() for m in masks):
        raise NoHull("no picture shows anything but backdrop")
    distance = parallel(_signed_distance, masks)
    poses, intrinsics = stack_cameras(cameras, torch.device("cpu"))
    pictures, distances = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in (images, distance))
    return Silhouettes(pictures, distances, poses.to(device), intrinsics.to(device))


def object_pixels(views: Sequence[View], backdrop: Backdrop) -> float:
    """The mean number of pixels that the object covers in a view, measured on small pictures."""
    _, images = _small_pictures(views)
    share = float(np.mean([object_mask(image, backdrop).mean() for image in images]))
    return share * views[0].camera.width * views[0].camera.height


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance of pixel centers to the outline, in pixels; OpenCV measures it to the next pixel on the other side."""
    if not mask.any():
        return np.full(mask.shape, -float(max(mask.shape)), np.float32)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside)


def carve(silhouettes: Silhouettes, count: int) -> tuple[Float[Tensor, "m 3"], float]:
    """(centers, side) of the cells just under the hull's surface, on the first grid that has at least `count` of them.

    An octree: cells that lie outside or deep inside are dropped, the others are halved.
    """
    center, half = _bounds(silhouettes)
    size = 2 * half / _START_CELLS
    axis = (torch.arange(_START_CELLS) + 0.5) * size - half
    device = silhouettes.distance.device
    cells = (torch.cartesian_prod(axis, axis, axis) + center).to(device)
    corners = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25])] * 3).to(device)
    blur = (silhouettes.cam_from_world[:, :3, 3].norm(dim=1) / silhouettes.intrinsics[:, 0]).mean().item()  # 1 px
    for depth in range(_MAX_DEPTH + 1):
        depth_inside = _hull_depth(cells, silhouettes)
        crossed = depth_inside.abs() < 0.5 * math.sqrt(3) * size + blur
        shell = (depth_inside >= 0) & (depth_inside <= max(size, blur))
        if not bool(crossed.any()):
            raise NoHull("the silhouettes meet nowhere: check the poses")
        if int(shell.sum()) >= count or depth == _MAX_DEPTH:
            break
        cells = (cells[crossed][:, None] + corners * size).reshape(-1, 3)
        size = size / 2
    return cells[shell], size


def _hull_depth(cells: Float[Tensor, "m 3"], s: Silhouettes) -> Float[Tensor, "m"]:
    """How far inside the hull the cells' centers are, in world units, negative outside: the smallest distance to an
    outline, without the few smallest that bad masks may have spoiled. Views that do not show a cell say nothing."""
    at_once = _CELLS_AT_ONCE[cells.device.type]
    return torch.cat([_hull_depth_of_some(part, s) for part in cells.split(at_once)])


def _hull_depth_of_some(cells: Float[Tensor, "m 3"], s: Silhouettes) -> Float[Tensor, "m"]:
    seen = s.project(cells)
    distance = s.at(s.distance, seen) * seen.depth / s.intrinsics[:, :1]
    distance = torch.where(seen.inside, distance, math.inf)
    smallest, view = distance.min(0)
    for _ in range(s.distance.shape[0] // _VIEWS_PER_FAULT):
        distance.scatter_(0, view[None], math.inf)
        smallest, view = distance.min(0)
    return smallest


def _bounds(s: Silhouettes) -> tuple[Float[Tensor, "3"], float]:
    """(center, half side) of a cube around the object: where the rays through the silhouettes' middles meet."""
    distance, poses, intrinsics = s.distance.cpu(), s.cam_from_world.cpu().double(), s.intrinsics.cpu().double()
    origins, directions, slopes = [], [], []
    for outline, pose, lens in zip(distance, poses, intrinsics, strict=True):
        rows, columns = torch.nonzero(outline > 0, as_tuple=True)
        if rows.numel() == 0:
            continue
        low, high = (torch.stack((v.min(), v.max())).double() for v in (columns, rows))
        middle = torch.cat(((torch.stack((low.mean(), high.mean())) - lens[2:]) / lens[:2], lens.new_ones(1)))
        rotation, shift = pose[:3, :3], pose[:3, 3]
        origins.append(-(rotation * shift[:, None]).sum(0))
        directions.append(torch.nn.functional.normalize((rotation * middle[:, None]).sum(0), dim=0))
        slopes.append(0.5 * torch.maximum((low[1] - low[0]) / lens[0], (high[1] - high[0]) / lens[1]))
    points = torch.stack(origins)
    center = nearest_to_lines(points, torch.stack(directions))
    radius = (torch.stack(slopes) * (center - points).norm(dim=1)).max().item()
    return center.float(), 1.5 * radius  # perspective and corners: a silhouette's half width is not yet the cube's


def _colors(
    points: Float[Tensor, "n 3"], s: Silhouettes, size: float
) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, "n"]]:
    """The median color over the views that see each point in front of the others, and whether any does."""
    seen = s.project(points)
    shown = seen.inside & (s.at(s.distance, seen) > 0)
    height, width = s.distance.shape[1:]
    shown &= seen.depth < _nearest_depth(seen, shown, (width, height)) + 2 * size
    color = torch.where(shown[..., None], s.at(s.images, seen).float() / 255, torch.nan)
    median = color.nanmedian(0).values
    return median, ~median[:, 0].isnan()


def _nearest_depth(seen: Seen, shown: Bool[Tensor, "v n"], size: tuple[int, int]) -> Float[Tensor, "v n"]:
    """The smallest depth among the points that show in the same block of pixels of a view; blocks are wide enough to
    leave no gaps."""
    (views, count), (width, height) = shown.shape, size
    block = max(1, math.ceil(math.sqrt(8 * width * height / max(count, 1))))
    columns, rows = width // block + 1, height // block + 1
    view = torch.arange(views, device=shown.device)[:, None]
    index = (view * rows + seen.row // block) * columns + seen.column // block
    nearest = torch.full((views * rows * columns,), math.inf, device=shown.device)
    nearest.scatter_reduce_(0, index[shown], seen.depth[shown], "amin")
    return nearest[index]
