"""Is a refined pose to be trusted? One judgment for every refiner, from how much of the picture it explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diff_gaussian_rasterization.constants import NORMAL_FROM_MAD
from diff_gaussian_rasterization.pose_step import propose
from diff_gaussian_rasterization.types import Trial
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.pose.pyramid import border_color, shrink
from gaussian_splatting.pose.search import JUDGED_PX, Scene, judged, null_cost, pictures_at
from gaussian_splatting.pose.solve import start_state
from gaussian_splatting.pose.types import object_center

_LEAST_CONTRAST = 1e-4  # mean cost of the background alone below which the picture shows no object
_SETTLED = 2e-3  # longest last step (radians, share of the distance) of a fit that has settled
_FEWEST = 5  # good views that a limit can be learned from
_SPREADS = 4.0  # robust standard deviations above the median that good pictures reach
_DEFECT_SHARE = 0.1  # of the contrast, which a defect may take besides: missing parts of D1Dog take up to 0.09
_MOST = 0.9  # the background alone leaves 1 unexplained
_BRIGHTNESS_STEPS = 3


@dataclass(frozen=True)
class PoseJudge:
    """Says why a pose is not to be trusted. `most_unexplained`: share of a picture's contrast to its background that
    may stay unexplained, in [0, 1]; more means another object, or a wrong pose."""

    most_unexplained: float = 0.3

    @staticmethod
    def learned(unexplained: Sequence[float | None]) -> "PoseJudge":
        """The limit exp(m + 4 s) + 0.1, at most 0.9, from the `unexplained` shares of good views after refinement: m is
        the median of their logarithms, s 1.4826 times the median distance to it. With fewer than five, the default."""
        known = [share for share in unexplained if share is not None and math.isfinite(share)]
        if len(known) < _FEWEST:
            return PoseJudge()
        logs = torch.tensor(known, dtype=torch.float64).clamp_min(1e-6).log()
        spread = NORMAL_FROM_MAD * (logs - logs.median()).abs().median()
        return PoseJudge(min(_MOST, float((logs.median() + _SPREADS * spread).exp()) + _DEFECT_SHARE))

    def doubt(self, unexplained: float, contrast: float, last_step: float = 0.0) -> str | None:
        """None, or why not to trust a pose. `contrast`: mean cost of the background alone; `last_step` of the fit in
        radians, or as a share of the distance."""
        if contrast < _LEAST_CONTRAST:
            return "the picture shows nothing but background"
        if not math.isfinite(unexplained):
            return "the fit failed: its cost is not a number"
        if unexplained > self.most_unexplained:
            return f"{unexplained:.0%} of the picture's contrast stays unexplained: another object, or a wrong pose"
        if last_step > _SETTLED:
            return f"the fit did not settle: its last step was {last_step:.1g}"
        return None


@torch.no_grad()
def measure_fit(
    gaussians: Gaussians, images: UInt8[Tensor, "q h w 3"], cameras: list[Camera]
) -> Float[Tensor, "two q"]:
    """For refiners that do not measure it: what `doubt` asks of each picture at its camera, the unexplained share and
    the contrast. Brightness (a gain and an offset per picture) is fitted first, as the other refiner does."""
    device, dtype = gaussians.means.device, gaussians.means.dtype
    poses, intrinsics = stack_cameras(cameras, device, torch.float64)
    images = images.to(device)
    pictures = pictures_at(gaussians, images, intrinsics.to(dtype), JUDGED_PX, float(max(images.shape[1:3])))
    background, _ = border_color(shrink(images, JUDGED_PX).permute(0, 3, 1, 2).to(dtype) / 255)
    scene = Scene({JUDGED_PX: pictures}, object_center(gaussians), background, buffers=None)
    everything = torch.arange(len(images), device=device)
    state = start_state(everything, poses, torch.ones_like(everything, dtype=torch.bool))
    trial = Trial.room_for(state, dtype)
    for _ in range(_BRIGHTNESS_STEPS):
        equations = judged(scene, state)
        equations.hessian[:, :6, 6:] = 0
        equations.hessian[:, 6:, :6] = 0  # brightness alone: the pose stays
        propose(state, equations, trial, scene.center, background, brightness=True, least_scale=None)
        state = state._replace(gain=trial.gain.clone(), offset=trial.offset.clone())
    return fit_facts(scene, judged(scene, state).cost)


def fit_facts(scene: Scene, cost: Float[Tensor, "q"]) -> Float[Tensor, "two q"]:
    """Unexplained share and contrast of each picture whose pose costs so much at JUDGED_PX. No pose explains the noise
    of the background, which is no contrast either."""
    null, noise = null_cost(scene)
    pixels = scene.pictures[JUDGED_PX].images[0, :, :, 0].numel()
    contrast = null - noise
    return torch.stack(((cost - noise).clamp_min(0) / contrast.clamp_min(1e-12), contrast / pixels))
