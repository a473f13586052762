"""The paper's pose refinement: Adam on the photometric loss, here on a true SE(3) exponential (SplatPose, section
3.2)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from diff_gaussian_rasterization import photometric_loss
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rigid, se3_exp, transformed
from gaussian_splatting.pose.types import PoseEstimate, check_refine_arguments, object_center
from gaussian_splatting.pose.verdict import PoseJudge, measure_fit
from gaussian_splatting.rendering import WHITE, render_poses

_EPSILON = 1e-8
_BETA1, _BETA2 = 0.9, 0.999


class _Batch(NamedTuple):
    """Cameras of one size that are refined together, each against its own picture."""

    cam_from_world: Float[Tensor, "b 4 4"]
    intrinsics: Float[Tensor, "b 4"]
    targets: UInt8[Tensor, "b h w 3"]


@dataclass(frozen=True)
class AdamRefiner:
    """The paper's optimizer, k = 175 steps; the best iterate is kept, not the last. Only the hypothesis whose rendering
    comes closest to the picture is refined. `judge` says which poses are not to be trusted."""

    steps: int = 175
    ssim_weight: float = 0.2
    batch: int = 8
    background: tuple[float, float, float] = WHITE
    judge: PoseJudge = PoseJudge()
    name: str = "adam"

    def refine(
        self, gaussians: Gaussians, images: UInt8[Tensor, "q h w 3"], hypotheses: list[list[Camera]]
    ) -> list[PoseEstimate]:
        """See `Refiner`. The cost is 0.8 L1 + 0.2 (1 - SSIM). Raises ValueError on pictures that do not fit the
        cameras."""
        check_refine_arguments(images, hypotheses)
        gaussians = gaussians.detached()
        images = images.to(gaussians.means.device)
        starts = [self._closest(gaussians, image, cameras) for image, cameras in zip(images, hypotheses, strict=True)]
        estimates: list[PoseEstimate] = []
        for first in range(0, len(starts), self.batch):
            cameras = starts[first : first + self.batch]
            poses, costs = self._optimize(
                gaussians, self._stack(gaussians, cameras, images[first : first + self.batch])
            )
            found = [camera.moved(pose) for camera, pose in zip(cameras, poses, strict=True)]
            facts = measure_fit(gaussians, images[first : first + self.batch], found).T.tolist()
            for camera, cost, (unexplained, contrast) in zip(found, costs.tolist(), facts, strict=True):
                reason = self.judge.doubt(unexplained, contrast)
                estimates.append(PoseEstimate(camera, cost, self.steps, reason is None, reason, unexplained))
        return estimates

    def _closest(self, gaussians: Gaussians, image: UInt8[Tensor, "h w 3"], cameras: list[Camera]) -> Camera:
        if len(cameras) == 1:
            return cameras[0]
        batch = self._stack(gaussians, cameras, image.expand(len(cameras), -1, -1, -1))
        with torch.no_grad():
            return cameras[int(self._losses(gaussians, batch, batch.cam_from_world).argmin())]

    def _optimize(self, gaussians: Gaussians, batch: _Batch) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, "b"]]:
        """The best poses of `steps` Adam steps on a twist that starts at zero, and their losses."""
        rotation, translation = batch.cam_from_world[:, :3, :3], batch.cam_from_world[:, :3, 3]
        center_in_camera = transformed(batch.cam_from_world, object_center(gaussians))
        cam_from_pivot = rigid(torch.eye(3).to(rotation).expand_as(rotation), center_in_camera)
        pivot_from_world = rigid(rotation, translation - center_in_camera)
        twist = rotation.new_zeros(len(rotation), 6)
        mean, square = torch.zeros_like(twist), torch.zeros_like(twist)
        best, best_pose = twist.new_full((len(twist),), float("inf")), batch.cam_from_world
        for step in range(self.steps + 1):
            leaf = twist.clone().requires_grad_(True)
            pose = cam_from_pivot @ se3_exp(leaf) @ pivot_from_world
            losses = self._losses(gaussians, batch, pose)
            better = (losses.detach() < best) & pose.detach().isfinite().flatten(1).all(1)
            best = torch.where(better, losses.detach(), best)
            best_pose = torch.where(better[:, None, None], pose.detach(), best_pose)
            if step == self.steps:
                break
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            mean = _BETA1 * mean + (1 - _BETA1) * gradient
            square = _BETA2 * square + (1 - _BETA2) * gradient**2
            unbiased = (square / (1 - _BETA2 ** (step + 1))).sqrt() + _EPSILON
            twist = twist - learning_rate(step) * (mean / (1 - _BETA1 ** (step + 1))) / unbiased
        return best_pose, best

    def _losses(self, gaussians: Gaussians, batch: _Batch, cam_from_world: Tensor) -> Float[Tensor, "b"]:
        height, width = batch.targets.shape[1:3]
        images = render_poses(gaussians, cam_from_world, batch.intrinsics, width, height, self.background).image
        pairs = zip(images.split(1), batch.targets.split(1), strict=True)
        return torch.stack([photometric_loss(image, target, self.ssim_weight) for image, target in pairs])

    def _stack(self, gaussians: Gaussians, cameras: list[Camera], targets: Tensor) -> _Batch:
        cam_from_world, intrinsics = stack_cameras(cameras, gaussians.means.device, gaussians.means.dtype)
        return _Batch(cam_from_world, intrinsics, targets)


def learning_rate(step: int) -> float:
    """The rate of step `step` in the paper's program: 1e-3 at the first, then 0.01 decayed by 0.8 every 100 steps."""
    return 1e-3 if step == 0 else 0.01 * 0.8 ** (step / 100)
