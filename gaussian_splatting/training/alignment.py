"""Poses of photographs are never exact: by how many pixels each training view lies off, solved along with the model.

A calibration leaves some tenths of a pixel, and a model of views that disagree is blurred. The shift of a view is found
against a rendering of the present model by one step of Lucas and Kanade (IJCAI 1981, image registration), and the
camera moves sideways by as much; a few rounds during training do, since the model follows. Camera and object may turn
and come nearer together almost unseen, so turns and distances stay as they were given: freeing them gains nothing and
lets the poses drift by tenths of a degree.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import depths_of_center
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import solved_by_cofactors
from gaussian_splatting.rendering import render
from gaussian_splatting.views import View

Shifts = Float[Tensor, "v 2"]  # of each view: to the right and down, pixels of the whole picture, float64 on the CPU

_AT_ONCE = {"cpu": 4, "cuda": 8}  # views rendered together
_DECIDED = 5  # the round, from 0, in which poses are found to be exact or not: the first of whole pictures
_OFF_PX = 0.25  # a median shift of less, added up until then, is an error of the model and not of the poses
_MANY = 100  # views: of so many, none is moved before a look ...
_LOOKED_AT, _LOOK_PX = 16, 0.15  # ... at a few of them, which the others hold in place: they show all of their error
_SPREAD = 0.1  # residuals of less than this (colors in [0, 1]) are no outliers
_FURTHER = 1.5  # of a step: part of it has been learned by the model from the view itself
_MOST_PX = 1.0  # of a step: gradients tell of no more
_DAMPING = 1e-3  # of the gradients' energy: along a picture's only direction of edges nothing tells a shift
_NEAREST = 1e-3  # of the largest distance of the object: views that it does not lie before are not moved


class Aligner:
    """Aligns the views of one training run. `views`: as they were given."""

    def __init__(self, views: Sequence[View], background: Color) -> None:
        self._views, self._background = list(views), background

    def align(
        self, model: Gaussians, views: Sequence[View], shifts: Shifts, size: tuple[int, int], turn: int
    ) -> Shifts:
        """Shifts that are nearer to the truth; the same object, or zeros once more, where poses are exact. `views`:
        corrected, in the order of those given, their cameras moved by `shifts`; compared at this size (width, height).
        `turn`: the number of the round, from 0."""
        many, scale = len(views) > _MANY, views[0].camera.width / size[0]
        if not shifts.any() and (turn != _DECIDED if many else turn > _DECIDED):
            return shifts
        if many and not shifts.any():
            few = views[:: -(-len(views) // _LOOKED_AT)]
            if scale * _median(self._found(model, few, size)) < _LOOK_PX:
                return shifts
        step = (_FURTHER * scale * self._found(model, views, size)).clamp(-_MOST_PX, _MOST_PX)
        shifts = self._without_world(shifts + step)
        exact = turn == _DECIDED and not many and _median(shifts) < _OFF_PX
        return torch.zeros_like(shifts) if exact else shifts

    def _found(self, model: Gaussians, views: Sequence[View], size: tuple[int, int]) -> Shifts:
        """In pixels of pictures of this size."""
        return solve_shifts(model, [view.resized(*size) for view in views], self._background)

    def _without_world(self, shifts: Shifts) -> Shifts:
        """The shifts less those that moving the whole object explains best."""
        axes = torch.stack([view.camera.cam_from_world[:2, :3] for view in self._views])
        seen = (pixels_per_unit(self._views)[..., None] * axes).flatten(0, 1)
        normal = (seen[:, :, None] * seen[:, None, :]).sum(0)
        least = 1e-9 * normal.diagonal().sum() * torch.eye(3, dtype=normal.dtype)
        motion = solved_by_cofactors(normal + least, (seen * shifts.flatten()[:, None]).sum(0))
        return shifts - (seen * motion).sum(1).view_as(shifts)


def _median(shifts: Shifts) -> float:
    return shifts.norm(dim=1).median().item()


@torch.no_grad()
def solve_shifts(model: Gaussians, views: Sequence[View], background: Color) -> Shifts:
    """By how many pixels the object lies further right and down in each picture than in the rendering of the model."""
    step = _AT_ONCE[model.means.device.type]
    return torch.cat([_solve_some(model, views[i : i + step], background) for i in range(0, len(views), step)])


def _solve_some(model: Gaussians, views: Sequence[View], background: Color) -> Shifts:
    rendering = render(model, [view.camera for view in views], background).image
    photographs = torch.stack([view.image for view in views]).to(rendering.device).permute(0, 3, 1, 2) / 255
    residual = (photographs - rendering)[..., 1:-1, 1:-1]
    middle = (photographs + rendering) / 2  # its gradient is right for larger shifts, too
    right = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / 2
    down = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / 2
    weight = 1 / (1 + (residual / _SPREAD).square())

    def total(values: Tensor) -> Float[Tensor, "b"]:
        return (weight * values).sum(-1).sum((1, 2)).double().cpu()  # rows first: threads do not split these sums

    xx, xy, yy = total(right * right), total(right * down), total(down * down)
    xr, yr = total(right * residual), total(down * residual)
    least = _DAMPING * (xx + yy) + 1e-9
    xx, yy = xx + least, yy + least
    determinant = xx * yy - xy * xy
    # What lies further right is darker where the picture becomes brighter to the right.
    found = -torch.stack(((yy * xr - xy * yr) / determinant, (xx * yr - xy * xr) / determinant), dim=1)
    return found.nan_to_num(0.0)


def moved_by(views: Sequence[View], shifts: Shifts) -> list[View]:
    """The views, their cameras moved sideways so that the object shows further right and down by these shifts."""
    if not shifts.any():
        return list(views)
    sideways = shifts / pixels_per_unit(views)
    result = []
    for view, (x, y) in zip(views, sideways.tolist(), strict=True):
        pose = view.camera.cam_from_world.clone()
        pose[0, 3] += x
        pose[1, 3] += y
        result.append(replace(view, camera=view.camera.moved(pose)))
    return result


def pixels_per_unit(views: Sequence[View]) -> Float[Tensor, "v 2"]:
    """By how many pixels the object moves in each picture for a unit of the world."""
    cameras = [view.camera for view in views]
    depth = depths_of_center(cameras)
    depth = depth.clamp_min(_NEAREST * depth.abs().max().clamp_min(1e-9))
    focal = torch.tensor([[camera.fx, camera.fy] for camera in cameras], dtype=torch.float64)
    return focal / depth[:, None]
