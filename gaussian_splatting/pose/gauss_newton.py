"""Pose refinement by robust Gauss-Newton on the picture itself: exact derivatives, coarse to fine, many poses at once.

All hypotheses of all pictures go down a pyramid together; the worst are dropped after the coarse levels. Residuals are
weighted by Huber's function, for the last iterations by Tukey's, which leaves an anomaly out altogether (earlier it
would lose the basin). Brightness (a gain and an offset per picture) is solved along with the pose.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from diff_gaussian_rasterization.types import PoseState
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.pose.pyramid import border_color, shrink
from gaussian_splatting.pose.search import JUDGED_PX, Level, Scene, SearchPlan, SearchResult, pictures_at, search
from gaussian_splatting.pose.simplify import merged
from gaussian_splatting.pose.solve import start_state
from gaussian_splatting.pose.types import PoseEstimate, check_refine_arguments, object_center
from gaussian_splatting.pose.verdict import PoseJudge, fit_facts

if TYPE_CHECKING:
    from diff_gaussian_rasterization.cuda.rasterize import ListBuffers

_SPLATS_AT_ONCE = {"cpu": 400_000, "cuda": 40_000_000}  # poses times Gaussians: within caches; 2.5 GB
_CELL_PX = 1.5  # cells of the simplified models: smaller ones swell, larger ones lose the shape
DISTANCE_STEP = 1.1  # distances are rounded to the usual one times powers of this: pictures share simplified models
_MODELS_KEPT = 4  # distances whose models wait for more pictures

# Two iterations at 100 px mostly show which hypothesis is right; rivals that come near it go on to 200 px. Tukey's
# weights, at the last level, do the rest.
LEVELS = (Level(64, 6, 3), Level(100, 2, 2, margin=2.0), Level(200, 2, 1), Level(400, 1, 1), Level(800, 1, 1))


_Key = tuple[float, float, int, int]  # distance, focal length, width and height


class _Models:
    """The model for every size of picture, seen from some distance, and what searches with them."""

    def __init__(
        self,
        gaussians: Gaussians,
        sides: list[int],
        distance: float,
        camera: Camera,
        plan: SearchPlan,
        buffers: "ListBuffers | None",
    ) -> None:
        largest = max(camera.width, camera.height)
        self.by_side = {
            side: merged(gaussians, _CELL_PX * distance * largest / (camera.fx * side)) if side < largest else gaussians
            for side in sides
        }
        self.center = object_center(gaussians)
        self.search: Callable[[Scene, PoseState], SearchResult] = partial(search, plan=plan)
        if buffers is not None:
            from gaussian_splatting.pose.graph import GpuSearch

            self.search = GpuSearch(self.search, buffers)


class _ModelCache:
    """The simplified models of the last model refined with, and the memory that searches on its GPU share: what one of
    them learned about the length of its lists need not be learned again by searching twice."""

    def __init__(self) -> None:
        self._of: list[tuple[Tensor, int]] = []
        self._models: dict[_Key, _Models] = {}
        self._buffers: dict[torch.device, ListBuffers] = {}

    def buffers(self, device: torch.device) -> "ListBuffers | None":
        """None on the CPU."""
        if device.type != "cuda":
            return None
        if device not in self._buffers:
            from gaussian_splatting.pose.graph import search_buffers

            self._buffers[device] = search_buffers(device)
        return self._buffers[device]

    def models(self, gaussians: Gaussians, key: _Key) -> _Models | None:
        of = [(tensor, tensor._version) for tensor in gaussians.as_dict().values()]
        if len(of) != len(self._of) or any(a is not b or i != j for (a, i), (b, j) in zip(of, self._of, strict=True)):
            self._of, self._models = of, {}
        models = self._models.pop(key, None)
        if models is not None:
            self._models[key] = models  # the last used is the last to go
        return models

    def keep(self, key: _Key, models: _Models) -> None:
        if len(self._models) == _MODELS_KEPT:
            self._models.pop(next(iter(self._models)))
        self._models[key] = models


@dataclass(frozen=True)
class GaussNewtonRefiner:
    """Second-order refinement of many hypotheses (`--refiner gauss-newton`).

    `brightness`: solve a gain and an offset per picture. `polish`: iterations with Tukey's weights at the end.
    `shortest_step` (radians, and share of the object's distance) ends a pose's iterations. `judge` says which poses are
    not to be trusted. `fitted_focal_px`: focal length in pixels of the pictures that the model was fitted to, which
    says how fine it is; None: as long as the queries'. `usual_distance`: of cameras from the object, world units;
    others are rounded about it, so that most pictures share simplified models. These are kept for the next call with
    the same Gaussians, so a refiner is not thread-safe: give each thread its own.
    """

    levels: tuple[Level, ...] = LEVELS
    brightness: bool = True
    shortest_step: float = 1e-4
    judge: PoseJudge = PoseJudge()
    polish: int = 24
    fitted_focal_px: float | None = None
    usual_distance: float = 1.0
    name: str = "gauss-newton"
    _cache: _ModelCache = field(init=False, repr=False, compare=False, default_factory=_ModelCache)

    def judged_by(self, judge: PoseJudge) -> "GaussNewtonRefiner":
        """The same refiner with another judge; it goes on with the simplified models of this one."""
        other = replace(self, judge=judge)
        object.__setattr__(other, "_cache", self._cache)
        return other

    def refine(
        self, gaussians: Gaussians, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> list[PoseEstimate]:
        """See `Refiner`. The cost is the share of the picture's contrast to its background that stays unexplained.

        What is found for a picture does not depend on the others. Raises ValueError on pictures that do not fit the
        cameras.
        """
        check_refine_arguments(images, hypotheses)
        center = object_center(gaussians).double().cpu()
        groups: dict[float, list[int]] = defaultdict(list)
        for i, cameras in enumerate(hypotheses):
            distance = (cameras[0].center - center).norm().item()
            steps = round(math.log(max(distance / self.usual_distance, 1e-6), DISTANCE_STEP))
            groups[self.usual_distance * DISTANCE_STEP**steps].append(i)
        estimates: dict[int, PoseEstimate] = {}
        for distance, members in groups.items():
            models = self._models(gaussians, distance, hypotheses[members[0]][0])
            together = self._together(models, max(len(hypotheses[i]) for i in members))
            for first in range(0, len(members), together):
                part = members[first : first + together]
                found = self._refine(models, images[part], [hypotheses[i] for i in part])
                estimates |= dict(zip(part, found, strict=True))
        return [estimates[i] for i in range(len(images))]

    def _models(self, gaussians: Gaussians, distance: float, camera: Camera) -> _Models:
        """Kept, or made now."""
        key = (distance, camera.fx, camera.width, camera.height)
        models = self._cache.models(gaussians, key)
        if models is None:
            levels = self._levels_for(max(camera.width, camera.height))
            plan = SearchPlan(tuple(levels), self.polish, self.brightness, self.shortest_step)
            sides = sorted({level.side for level in levels} | {JUDGED_PX})
            buffers = self._cache.buffers(gaussians.means.device)
            models = _Models(gaussians.detached(), sides, distance, camera, plan, buffers)
            self._cache.keep(key, models)
        return models

    def _together(self, models: _Models, hypotheses: int) -> int:
        """How many pictures with so many hypotheses fit into memory at once."""
        sizes = [len(models.by_side[side]) for side in sorted(models.by_side)]
        largest = max(sizes[0] * hypotheses, sizes[-1])
        return max(1, _SPLATS_AT_ONCE[models.center.device.type] // max(1, largest))

    def _refine(
        self, models: _Models, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> list[PoseEstimate]:
        scene, state = self._start(models, images, hypotheses)
        found = models.search(scene, state)
        return self._report(scene, found, [cameras[0] for cameras in hypotheses])

    def _start(
        self, models: _Models, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> tuple[Scene, PoseState]:
        device, dtype = models.center.device, models.center.dtype
        # Shorter lists are filled up with their last hypothesis, so that every picture has equally many.
        most = max(len(cameras) for cameras in hypotheses)
        filled = [camera for cameras in hypotheses for camera in cameras + cameras[-1:] * (most - len(cameras))]
        alive = torch.tensor([i < len(cameras) for cameras in hypotheses for i in range(most)], device=device)
        poses, intrinsics = stack_cameras(filled, device, torch.float64)
        images, intrinsics = images.to(device), intrinsics[::most].to(dtype)
        finer = self.fitted_focal_px / hypotheses[0][0].fx if self.fitted_focal_px else 1.0
        fitted_side = finer * max(images.shape[1:3])
        pictures = {
            side: pictures_at(model, images, intrinsics, side, fitted_side) for side, model in models.by_side.items()
        }
        background, _ = border_color(shrink(images, JUDGED_PX).permute(0, 3, 1, 2).to(dtype) / 255)
        scene = Scene(pictures, models.center, background, buffers=None)
        return scene, start_state(torch.arange(len(images), device=device).repeat_interleave(most), poses, alive)

    def _levels_for(self, longer_side: int) -> list[Level]:
        """The levels that are clearly smaller than the picture, and those for the picture itself, up to the largest."""
        full = min((level.side for level in self.levels if level.side >= longer_side), default=None)
        return [level for level in self.levels if level.side <= 0.75 * longer_side or level.side == full]

    def _report(self, scene: Scene, found: SearchResult, cameras: list[Camera]) -> list[PoseEstimate]:
        """Judges the poses, one per picture, and says why where one is not to be trusted."""
        state = found.state
        facts = torch.cat((fit_facts(scene, found.cost), torch.stack((state.step, state.steps)))).cpu()
        estimates = []
        for camera, pose, fact in zip(cameras, state.cam_from_world.cpu(), facts.T.tolist(), strict=True):
            unexplained, contrast, step, steps = fact
            if not bool(pose.isfinite().all()):  # of a model that no camera could have been fitted to
                pose, unexplained = camera.cam_from_world, math.nan
            reason = self.judge.doubt(unexplained, contrast, step)
            estimates.append(
                PoseEstimate(camera.moved(pose), unexplained, int(steps), reason is None, reason, unexplained)
            )
        return estimates
