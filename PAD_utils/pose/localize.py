"""Where were these pictures taken: coarse poses, then refinement, in batches, with the time of each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid, rigid_inverse, rotation_angle
from gaussian_splatting.pose.adam import AdamRefiner
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.types import PoseEstimate, Refiner, object_center
from gaussian_splatting.pose.verdict import PoseJudge
from gaussian_splatting.rendering import render
from PAD_utils.pose.retrieval import Retriever

PICTURES_AT_ONCE = 64  # of 800x800: 123 MB as uint8
_STILL = 1e-3  # radians, and share of the distance: a new cut that moves a pose by less leaves it where it is
_FIRST_REACH, _FARTHEST = 4, 16  # times the last move, from which the next cut is made
_TRIES = 16


@dataclass(frozen=True)
class Localization:
    """One estimate per picture and the first pose of each, and the seconds that all pictures took together."""

    estimates: list[PoseEstimate]
    coarse: list[Camera]
    seconds_retrieve: float
    seconds_refine: float


def localize(
    gaussians: Gaussians,
    images: UInt8[Tensor, "q h w 3"],
    cameras: Sequence[Camera],
    retriever: Retriever,
    refiner: Refiner,
    hypotheses: int = 8,
) -> Localization:
    """The pose of the camera of every picture; `cameras` are their intrinsics. Loading of models and gallery belongs to
    the retriever and is not timed here.

    Raises ValueError if `hypotheses` is less than 1.
    """
    if hypotheses < 1:
        raise ValueError(f"localize: needs at least 1 hypothesis per picture, got {hypotheses}")
    estimates: list[PoseEstimate] = []
    coarse: list[Camera] = []
    seconds_retrieve = seconds_refine = 0.0
    for chunk in images.split(PICTURES_AT_ONCE):
        start = _now(gaussians)
        first = retriever.hypotheses(chunk, cameras[len(coarse) : len(coarse) + len(chunk)], hypotheses)
        middle = _now(gaussians)
        estimates += refiner.refine(gaussians, chunk, first)
        coarse += [candidates[0] for candidates in first]
        end = _now(gaussians)
        seconds_retrieve += middle - start
        seconds_refine += end - middle
    return Localization(estimates, coarse, seconds_retrieve, seconds_refine)


def refine_uncut(
    gaussians: Gaussians,
    photographs: UInt8[Tensor, "q h w 3"],
    cameras: Sequence[Camera],
    refiner: Refiner,
    surroundings: Color,
) -> list[PoseEstimate]:
    """Poses found on cut-outs, refined on the photographs themselves, cut out anew by the model's alpha at those poses.

    A cut-out made without the pose lacks parts that look like the surroundings, and those pull; the model knows better
    where the part is. But a cut at a wrong pose has its outline there, which holds the pose back: it gains a tenth of
    the way or less. So where a new cut still moves a pose, the next is made farther along, as long as that explains
    more. `surroundings`: the color in [0, 1] that the model was trained before. What stays unexplained is much less
    than of a cut-out, at wrong poses too: the limit to judge it by is to be learned in the same way.
    """

    def recut(some: Sequence[int], starts: Sequence[Camera]) -> list[PoseEstimate]:
        return refine_recut(gaussians, photographs[list(some)], starts, refiner, surroundings)

    everything = range(len(photographs))
    starts = [estimate.camera for estimate in recut(everything, cameras)]
    found = recut(everything, starts)
    center, reach = object_center(gaussians).double().cpu(), [_FIRST_REACH] * len(found)
    for _ in range(_TRIES):
        moving = [i for i in everything if reach[i] and _apart(starts[i], found[i].camera, center) > _STILL]
        if not moving:
            break
        ahead = [_ahead(starts[i], found[i].camera, reach[i]) for i in moving]
        for i, start, estimate in zip(moving, ahead, recut(moving, ahead), strict=True):
            if estimate.cost < found[i].cost:
                starts[i], found[i], reach[i] = start, estimate, min(_FARTHEST, 2 * reach[i])
            else:
                reach[i] //= 2
    return found


@torch.no_grad()
def refine_recut(
    gaussians: Gaussians,
    photographs: UInt8[Tensor, "q h w 3"],
    cameras: Sequence[Camera],
    refiner: Refiner,
    surroundings: Color,
) -> list[PoseEstimate]:
    """Poses refined on the photographs as the model's alpha at these cameras cuts them out."""
    alpha = render(gaussians, list(cameras), (0.0, 0.0, 0.0)).alpha[..., None].cpu()
    cut = alpha * photographs + (1 - alpha) * 255 * torch.tensor(surroundings)
    return refiner.refine(gaussians, cut.round().clamp(0, 255).byte(), [[camera] for camera in cameras])


def _apart(a: Camera, b: Camera, center: Float[Tensor, "3"]) -> float:
    """How far two poses are apart: the larger of the turn in radians and the way as a share of the distance."""
    turn = rotation_angle(a.cam_from_world[:3, :3] @ b.cam_from_world[:3, :3].T).item()
    return max(turn, ((a.center - b.center).norm() / (b.center - center).norm()).item())


def _ahead(start: Camera, end: Camera, times: int) -> Camera:
    """As many times the way from one pose to the other, farther on."""
    way = end.cam_from_world @ rigid_inverse(start.cam_from_world)
    pose = torch.linalg.matrix_power(way, times) @ end.cam_from_world
    left, _, right = torch.linalg.svd(pose[:3, :3])  # powers multiply what rounding has added to a rotation
    return end.moved(rigid(left @ right, pose[:3, 3]))


def _now(gaussians: Gaussians) -> float:
    """The time in seconds, once the device has finished what it was given."""
    if gaussians.means.is_cuda:
        torch.cuda.synchronize(gaussians.means.device)
    return time.perf_counter()


def judging(refiner: Refiner, judge: PoseJudge) -> Refiner:
    """The refiner with another judge of its poses; as it is, if it has none of its own."""
    if isinstance(refiner, GaussNewtonRefiner):
        return refiner.judged_by(judge)
    return replace(refiner, judge=judge) if isinstance(refiner, AdamRefiner) else refiner
