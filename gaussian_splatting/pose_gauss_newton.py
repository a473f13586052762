"""Pose refinement by robust Gauss-Newton on the picture itself: exact derivatives, coarse to fine, many poses at once.

All hypotheses of all pictures go down a pyramid together; the worst are dropped after the coarse levels. Residuals are
weighted by Huber's function, for the last iterations by Tukey's, which leaves an anomaly out altogether (earlier it
would lose the basin). Brightness (a gain and an offset per picture) is solved along with the pose.

The small pictures of the coarse levels are drawn from a simplified model, and photograph and drawing are filtered
alike: the splats' dilation of 0.3 px^2 is the low-pass filter, their opacities make up for it (`detail`), and the
photograph, which averaging has filtered with a box, gets the rest. Otherwise the object swells at coarse levels and
appears too near.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from diff_gaussian_rasterization.pose import pose_normal_equations
from diff_gaussian_rasterization.pose_reference import NormalEquations, robust_weights
from diff_gaussian_rasterization.reference import COVARIANCE_DILATION
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.photometry import blur, border_color, shrink
from gaussian_splatting.pose import PoseEstimate, check_refine_arguments, object_center
from gaussian_splatting.pose_solve import DAMPING, PoseState, accept, propose, residual_scale, start_state
from gaussian_splatting.simplify import merged

_SPLATS_AT_ONCE = {"cpu": 4_000_000, "cuda": 40_000_000}  # poses times Gaussians: 0.25 and 2.5 GB of splats
_JUDGED_PX, _JUDGED_SCALE = 200, 0.05  # size and residual scale at which the final fit is judged
_LEAST_CONTRAST = 1e-4  # mean cost of the bare background below which the picture shows no object
# Least scale of the residuals. Most pixels are flat and fit well from the start, so their median alone would take the
# edges, which hold the pose, for outliers.
_LEAST_SCALE = {"huber": 0.1, "tukey": 0.03}
_SATURATED = 254.5 / 255
_FULL = 0  # key of the model as it is
_CELL_PX = 1.5  # cells of the simplified models: smaller ones swell, larger ones lose the shape
_BOX_VARIANCE = 1 / 12  # px^2, of averaging over a pixel
_SETTLED = 2e-3  # longest last step (radians, share of the distance) of a fit that has settled


@dataclass(frozen=True)
class Level:
    """One step of the pyramid: at most `side` pixels, so many iterations, then the best `keep` hypotheses go on."""

    side: int
    iterations: int
    keep: int


LEVELS = (Level(64, 6, 3), Level(200, 4, 1), Level(400, 4, 1), Level(800, 4, 1))


class _Scene(NamedTuple):
    """What stays the same on all levels: the models by level, the pictures, and the background of each."""

    models: dict[int, Gaussians]
    center: Float[Tensor, "3"]
    images: UInt8[Tensor, "q h w 3"]
    intrinsics: Float[Tensor, "q 4"]
    background: Float[Tensor, "q 3"]
    fitted_side: int


class _Pictures(NamedTuple):
    """The pictures of one level and the model to draw them with, their intrinsics, and their squared size over those
    that the model was fitted to."""

    model: Gaussians
    images: UInt8[Tensor, "q h w 3"]
    intrinsics: Float[Tensor, "q 4"]
    detail: float


@dataclass(frozen=True)
class GaussNewtonRefiner:
    """Second-order refinement of many hypotheses (`--refiner gauss-newton`).

    `brightness`: solve a gain and an offset per picture. `polish`: iterations with Tukey's weights at the end.
    `shortest_step` (radians, and share of the object's distance) ends a pose's iterations. `most_unexplained`: share
    of a picture's contrast to its background that may stay unexplained before it is reported as showing something
    else. `fitted_side`: longer side in pixels of the pictures that the model was fitted to, at the queries' field of
    view; None: as large as the queries.
    """

    levels: tuple[Level, ...] = LEVELS
    brightness: bool = True
    shortest_step: float = 5e-5
    most_unexplained: float = 0.3
    polish: int = 6
    fitted_side: int | None = None
    name: str = "gauss-newton"

    def refine(
        self, gaussians: Gaussians, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> list[PoseEstimate]:
        """See `Refiner`. The cost is the share of the picture's contrast to its background that stays unexplained.

        Raises ValueError on pictures that do not fit the cameras.
        """
        check_refine_arguments(images, hypotheses)
        gaussians = gaussians.detached()
        if not len(images):
            return []
        most = max(len(cameras) for cameras in hypotheses)
        models = self._models(gaussians, [cameras[0] for cameras in hypotheses])
        coarsest = models.get(self.levels[0].side, gaussians)
        largest = max(len(coarsest) * most, len(gaussians))
        together = max(1, _SPLATS_AT_ONCE[gaussians.means.device.type] // max(1, largest))
        estimates: list[PoseEstimate] = []
        for first in range(0, len(images), together):
            chunk = slice(first, first + together)
            estimates += self._refine(models, images[chunk], hypotheses[chunk], most)
        return estimates

    def _models(self, gaussians: Gaussians, cameras: list[Camera]) -> dict[int, Gaussians]:
        """The model for each size of picture: as it is for that of the photographs, simplified for smaller ones."""
        side = max(cameras[0].width, cameras[0].height)
        center = object_center(gaussians).double().cpu()
        distance = torch.stack([(camera.center - center).norm() for camera in cameras]).median().item()
        models = {_FULL: gaussians}
        for small in {level.side for level in self._levels_for(side)[:-1]} | {_JUDGED_PX}:
            cell = _CELL_PX * distance / (cameras[0].fx * small / side)
            models[small] = merged(gaussians, cell) if small < side else gaussians
        return models

    def _refine(
        self, models: dict[int, Gaussians], images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]], most: int
    ) -> list[PoseEstimate]:
        gaussians = models[_FULL]
        device, dtype = gaussians.means.device, gaussians.means.dtype
        # Shorter lists are filled up with their last hypothesis, so that every picture has equally many.
        filled = [camera for cameras in hypotheses for camera in cameras + cameras[-1:] * (most - len(cameras))]
        poses, intrinsics = stack_cameras(filled, device, torch.float64)
        images = images.to(device)
        background, _ = border_color(shrink(images, _JUDGED_PX).permute(0, 3, 1, 2).to(dtype) / 255)
        fitted_side = self.fitted_side or max(images.shape[1:3])
        scene = _Scene(models, object_center(gaussians), images, intrinsics[::most].to(dtype), background, fitted_side)
        state = start_state(torch.arange(len(images), device=device).repeat_interleave(most), poses)
        levels = self._levels_for(max(images.shape[1:3]))
        for i, level in enumerate(levels):
            state, cost = self._descend(scene, state, level.side, level.iterations, "huber", follow=i == 0)
            state = _best(state, cost, len(images), 1 if i == len(levels) - 1 else level.keep)
        state, _ = self._descend(scene, state, levels[-1].side, self.polish, "tukey", follow=False)
        return self._report(scene, state, [cameras[0] for cameras in hypotheses])

    def _levels_for(self, longer_side: int) -> list[Level]:
        """The levels that are clearly smaller than the picture, and one for the picture itself, up to the largest."""
        below = [level for level in self.levels if level.side <= 0.75 * longer_side]
        full = next((level for level in self.levels if level.side >= longer_side), None)
        return below if full is None else [*below, full]

    def _descend(
        self, scene: _Scene, state: PoseState, side: int, iterations: int, robust: str, follow: bool
    ) -> tuple[PoseState, Float[Tensor, "p"]]:
        """Iterations at pictures of one size, and the robust cost of where they end.

        `follow`: the scale of the residuals follows every step, and every step is taken: far from the goal they shrink
        fast, and costs of different scales do not compare.
        """
        pictures = _at_level(scene, side)
        count = len(scene.images)
        state = state._replace(active=torch.ones_like(state.active), damping=torch.full_like(state.damping, DAMPING))
        equations = _evaluate(scene, pictures, state, robust)
        for i in range(iterations):
            if follow or i == 0:
                state = state._replace(scale=residual_scale(equations.histogram, count, _LEAST_SCALE[robust]))
            trial, length = propose(state, equations, scene.center, self.brightness)
            found = _evaluate(scene, pictures, trial, robust)
            state, equations = accept(
                state, equations, trial, found, length, always=follow or i == 0, shortest_step=self.shortest_step
            )
        return state, equations.cost

    def _report(self, scene: _Scene, state: PoseState, cameras: list[Camera]) -> list[PoseEstimate]:
        """Judges the poses that are left, one per picture, and says why where one is not to be trusted."""
        pictures = _at_level(scene, _JUDGED_PX)
        judged = state._replace(scale=torch.full_like(state.scale, _JUDGED_SCALE), active=torch.ones_like(state.active))
        cost = _evaluate(scene, pictures, judged, "huber").cost
        bare = _bare_cost(scene, pictures)
        pixels = pictures.images[0, :, :, 0].numel()
        facts = zip(
            cameras, state.cam_from_world.cpu(), (cost / bare.clamp_min(1e-12)).tolist(), (bare / pixels).tolist(),
            state.step.tolist(), state.steps.tolist(), strict=True,
        )  # fmt: skip
        estimates = []
        for camera, pose, unexplained, contrast, step, steps in facts:
            reason = self._doubt(unexplained, contrast, step)
            estimates.append(PoseEstimate(camera.moved(pose), unexplained, steps, reason is None, reason))
        return estimates

    def _doubt(self, unexplained: float, contrast: float, step: float) -> str | None:
        if contrast < _LEAST_CONTRAST:
            return "the picture shows nothing but background"
        if not unexplained <= self.most_unexplained:  # NaN fails too
            return f"{unexplained:.0%} of the picture's contrast stays unexplained: another object, or a wrong pose"
        if step > _SETTLED:
            return f"the fit did not settle: its last step was {step:.1g}"
        return None


def _at_level(scene: _Scene, side: int) -> _Pictures:
    images = shrink(scene.images, side)
    height, width = images.shape[1:3]
    ratio_x, ratio_y = width / scene.images.shape[2], height / scene.images.shape[1]
    ratio = scene.intrinsics.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    detail = min(1.0, max(height, width) / scene.fitted_side) ** 2
    averaged = (1 - min(1.0, ratio_x * ratio_y)) * _BOX_VARIANCE
    images = blur(images, max(0.0, (1 - detail) * COVARIANCE_DILATION - averaged))
    return _Pictures(scene.models.get(side, scene.models[_FULL]), images, scene.intrinsics * ratio, detail)


def _evaluate(scene: _Scene, pictures: _Pictures, state: PoseState, robust: str) -> NormalEquations:
    """The normal equations of every pose at the pictures of a level; zeros for poses that are inactive, on the CPU."""
    if state.cam_from_world.device.type != "cpu":
        return _evaluate_all(scene, pictures, state, robust)
    chosen = state.active.nonzero()[:, 0]
    if len(chosen) == len(state.active):
        return _evaluate_all(scene, pictures, state, robust)
    part = _evaluate_all(scene, pictures, state.select(chosen), robust)
    whole = (torch.zeros((len(state.active), *tensor.shape[1:]), dtype=tensor.dtype) for tensor in part)
    return NormalEquations(*(tensor.index_copy(0, chosen, p) for tensor, p in zip(whole, part, strict=True)))


def _evaluate_all(scene: _Scene, pictures: _Pictures, state: PoseState, robust: str) -> NormalEquations:
    gaussians, dtype = pictures.model, pictures.model.means.dtype
    height, width = pictures.images.shape[1:3]
    return pose_normal_equations(
        gaussians.means,
        gaussians.scales,
        gaussians.quats,
        gaussians.opacities,
        gaussians.sh,
        state.cam_from_world.to(dtype),
        pictures.intrinsics[state.picture],
        width,
        height,
        _background(scene, state).to(dtype),
        pictures.images,
        state.picture,
        scene.center,
        robust,
        state.scale.to(dtype),
        state.gain.to(dtype),
        state.offset.to(dtype),
        detail=pictures.detail,
    )


def _background(scene: _Scene, state: PoseState) -> Float[Tensor, "p 3"]:
    """The background behind each pose. A saturated one was as much brighter as the object is: it is drawn so and then
    held to white, as the camera did; otherwise the outline would shrink."""
    measured = scene.background[state.picture].double()
    return torch.where(measured >= _SATURATED, measured * state.gain.clamp_min(1)[:, None], measured)


def _bare_cost(scene: _Scene, pictures: _Pictures) -> Float[Tensor, "q"]:
    """The cost of explaining each picture by its background alone."""
    difference = pictures.images.to(scene.background.dtype) / 255 - scene.background[:, None, None]
    scale = torch.full_like(difference[:, :1, :1, 0], _JUDGED_SCALE)
    return robust_weights("huber", scale, difference.square().mean(3).sqrt())[1].sum((1, 2))


def _best(state: PoseState, cost: Float[Tensor, "p"], pictures: int, keep: int) -> PoseState:
    """Of each picture's poses the `keep` that cost least, best first."""
    per_picture = len(cost) // pictures
    order = torch.where(torch.isfinite(cost), cost, torch.full_like(cost, torch.inf)).view(pictures, per_picture)
    best = order.argsort(dim=1, stable=True)[:, :keep]
    first = torch.arange(pictures, device=cost.device)[:, None] * per_picture
    return state.select((best + first).flatten())
