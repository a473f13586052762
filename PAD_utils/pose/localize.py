"""Where were these pictures taken: coarse poses, then refinement, in batches, with the time of each."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.pose.types import PoseEstimate, Refiner
from gaussian_splatting.rendering import render
from PAD_utils.pose.retrieval import Retriever

PICTURES_AT_ONCE = 64  # of 800x800: 123 MB as uint8
_RECUTS = 2  # the second by nearly the right pose


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


@torch.no_grad()
def refine_uncut(
    gaussians: Gaussians,
    photographs: UInt8[Tensor, "q h w 3"],
    cameras: Sequence[Camera],
    refiner: Refiner,
    surroundings: Color,
) -> list[PoseEstimate]:
    """Poses found on cut-outs, refined on the photographs themselves, cut out anew by the model's alpha at those poses.

    A cut-out made without the pose lacks parts that look like the surroundings, and those pull; the model knows better
    where the part is. `surroundings`: the color in [0, 1] that the model was trained before. What stays unexplained is
    much less than of a cut-out, at wrong poses too: the limit to judge it by is to be learned in the same way.
    """
    found: list[PoseEstimate] = []
    for _ in range(_RECUTS):
        alpha = render(gaussians, list(cameras), (0.0, 0.0, 0.0)).alpha[..., None].cpu()
        cut = alpha * photographs + (1 - alpha) * 255 * torch.tensor(surroundings)
        found = refiner.refine(gaussians, cut.round().clamp(0, 255).byte(), [[camera] for camera in cameras])
        cameras = [estimate.camera for estimate in found]
    return found


def _now(gaussians: Gaussians) -> float:
    """The time in seconds, once the device has finished what it was given."""
    if gaussians.means.is_cuda:
        torch.cuda.synchronize(gaussians.means.device)
    return time.perf_counter()
