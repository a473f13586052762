"""What a training run does and when: its configuration, and the tables that an engine reads."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import depths_of_center
from gaussian_splatting.geometry import rigid_inverse
from gaussian_splatting.training.state import LossConfig
from gaussian_splatting.views import View

Decay = tuple[float, float]  # a rate at the first and at the last iteration; exponential in between
BUDGET_POWER = 0.7  # four times the pixels show less than four times the detail
FAST_SH_DEGREE = 2  # of the preset "fast": highlights that move with the camera also bias poses
_MIN_LEVEL_WIDTH = 64  # pixels: coarser pictures than this teach nothing


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Iterations count optimization steps; lengths are in world units unless said otherwise."""

    iterations: int
    views_per_step: int = 1
    sh_degree: int = 0
    sh_every: int = 1000  # the harmonics of one more degree start after this many iterations
    loss: LossConfig = field(default_factory=LossConfig)
    background: Color | None = None  # behind the object; None: measured along the borders of the pictures

    # learning rates of Adam; those of the means are in units of the extent of the cameras (3DGS), or of a pixel of the
    # present level, as wide as it is at the object
    means_rate: Decay = (1.6e-4, 1.6e-6)
    means_in_pixels: bool = False
    sh_rate: Decay = (2.5e-3, 2.5e-3)
    sh_rest_share: float = 1 / 20  # the harmonics above the constant one learn at this share of sh_rate
    opacity_rate: Decay = (0.05, 0.05)
    scale_rate: Decay = (5e-3, 5e-3)
    quat_rate: Decay = (1e-3, 1e-3)

    # the start: the visual hull (falling back to the cube if there is none), or the paper's random cube
    hull: bool = False
    start_count: int = 100_000  # Gaussians of the random cube
    start_opacity: float = 0.1

    # (first iteration, divisor of the picture size)
    levels: tuple[tuple[int, int], ...] = ((0, 1),)

    # density control, at every `densify_every`-th iteration in (densify_from, densify_until)
    densify_from: int = 500
    densify_until: int = 15_000
    densify_every: int = 100
    prune_opacity: float = 0.005
    # growth by threshold (the paper's): all Gaussians with a larger mean screen gradient
    grad_threshold: float = 2e-4
    split_share: float = 0.01  # of the extent: larger Gaussians are split, smaller ones doubled
    prune_share: float = 0.1  # of the extent: larger Gaussians go, after the first opacity reset
    opacity_reset_every: int = 3000  # 0: never
    # growth by budget: this times the object's pixels in a mean view to the power of BUDGET_POWER; 0: by threshold
    budget: float = 0.0
    start_share: float = 0.5  # of the budget: the Gaussians of the hull; the others come linearly

    exposure_at: tuple[int, ...] = ()  # iterations after which the exposure of every view is solved
    align_at: tuple[int, ...] = ()  # iterations after which views are moved to where their pictures fit the model

    @staticmethod
    def paper(iterations: int = 30_000, sh_degree: int = 0) -> "TrainConfig":
        """3DGS as SplatPose runs it; densification takes the first half of the iterations."""
        return TrainConfig(iterations=iterations, sh_degree=sh_degree, densify_until=iterations // 2)

    @staticmethod
    def preset(
        name: str, device_type: str, iterations: int | None = None, sh_degree: int | None = None
    ) -> "TrainConfig":
        """The preset "paper" or "fast". A GPU takes more steps of four views: seconds there, many minutes on a CPU."""
        if name == "paper":
            return TrainConfig.paper(iterations or 30_000, sh_degree or 0)
        if name != "fast":
            raise ValueError(f'the preset must be "paper" or "fast", got {name!r}')
        many = device_type == "cuda"
        degree = FAST_SH_DEGREE if sh_degree is None else sh_degree
        if not many:
            return TrainConfig.fast(iterations or 3000, degree)
        return TrainConfig.fast(iterations or 4000, degree, views_per_step=4, budget=40.0)

    @staticmethod
    def fast(
        iterations: int = 3000, sh_degree: int = FAST_SH_DEGREE, views_per_step: int = 1, budget: float = 25.0
    ) -> "TrainConfig":
        """Ours: from the visual hull, coarse to fine, with a budget of Gaussians and rates that decay."""
        return TrainConfig(
            iterations=iterations,
            views_per_step=views_per_step,
            sh_degree=sh_degree,
            sh_every=max(1, iterations // 10),
            means_rate=(0.12, 0.0012),
            means_in_pixels=True,
            sh_rate=(6e-2, 2e-3),
            opacity_rate=(0.1, 1e-2),
            scale_rate=(4e-2, 1e-3),
            quat_rate=(1e-2, 2e-4),
            hull=True,
            start_opacity=0.5,
            levels=((0, 4), (iterations // 10, 2), (iterations * 3 // 10, 1)),
            densify_from=iterations // 20,
            densify_until=iterations * 2 // 5,
            densify_every=max(1, iterations // 30),
            prune_opacity=0.02,
            opacity_reset_every=0,
            budget=budget,
            start_share=0.25,
            sh_rest_share=0.2,
            exposure_at=tuple(iterations * twelfths // 12 for twelfths in (2, 4, 7)),  # sooner the model misleads
            align_at=tuple(iterations * thirtieths // 30 for thirtieths in range(4, 16)),  # later it has adapted itself
        )

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain values, for JSON."""
        return asdict(self)

    def densifies_at(self, iteration: int) -> bool:
        inside = self.densify_from < iteration < self.densify_until
        return inside and iteration % self.densify_every == 0

    def resets_opacity_at(self, iteration: int) -> bool:
        """As 3DGS on a white background: also once, when densification starts."""
        if not self.opacity_reset_every or iteration >= self.densify_until:
            return False
        return iteration % self.opacity_reset_every == 0 or iteration == self.densify_from

    def sh_degree_at(self, iteration: int) -> int:
        return min(self.sh_degree, iteration // self.sh_every)

    def divisor_at(self, iteration: int, width: int) -> int:
        """By how much smaller the pictures are that are trained on after `iteration` steps."""
        divisor = [d for start, d in self.levels if start <= iteration][-1]
        while divisor > 1 and width // divisor < _MIN_LEVEL_WIDTH:
            divisor -= 1
        return divisor

    def stops(self, every: int) -> list[int]:
        """The iterations after which something happens, every multiple of `every` and the last one included."""
        stops = {i for i in range(1, self.iterations + 1) if self._stops_at(i, every)}
        return sorted(stops | {self.iterations})

    def _stops_at(self, i: int, every: int) -> bool:
        level = any(start == i for start, _ in self.levels)
        sh = self.sh_degree_at(i) != self.sh_degree_at(i - 1)
        solved = i in self.exposure_at or i in self.align_at
        return i % every == 0 or level or sh or solved or self.densifies_at(i) or self.resets_opacity_at(i)


def view_order(count: int, config: TrainConfig, generator: torch.Generator) -> Int64[Tensor, "iterations b"]:
    """Which views each step takes: random orders of all views, one after the other."""
    needed = config.iterations * config.views_per_step
    rounds = [torch.randperm(count, generator=generator) for _ in range(math.ceil(needed / count))]
    return torch.cat(rounds)[:needed].reshape(config.iterations, config.views_per_step)


def learning_rates(config: TrainConfig, views: Sequence[View]) -> dict[str, Float[Tensor, "iterations"]]:
    """The tables that `Engine.run` takes."""
    progress = torch.arange(config.iterations, dtype=torch.float64) / max(1, config.iterations - 1)
    unit = torch.tensor(camera_extent(views))
    if config.means_in_pixels:
        width = views[0].camera.width
        unit = pixel_width(views) * torch.tensor([config.divisor_at(i, width) for i in range(config.iterations)])

    def table(rate: Decay) -> Float[Tensor, "iterations"]:
        return (math.log(rate[0]) * (1 - progress) + math.log(rate[1]) * progress).exp().float()

    sh = table(config.sh_rate)
    return {
        "means": table(config.means_rate) * unit,
        "log_scales": table(config.scale_rate),
        "quats": table(config.quat_rate),
        "opacity_logits": table(config.opacity_rate),
        "sh": sh,
        "sh_rest": sh * config.sh_rest_share,
    }


def camera_extent(views: Sequence[View]) -> float:
    """The length scale of 3DGS: 1.1 times the largest distance of a camera from the cameras' mean."""
    centers = rigid_inverse(torch.stack([view.camera.cam_from_world for view in views]))[:, :3, 3]
    return 1.1 * (centers - centers.mean(0)).norm(dim=1).max().item() or 1.0


def pixel_width(views: Sequence[View]) -> float:
    """How wide a pixel is, in world units, where the optical axes come closest to meeting: at the object."""
    depth = depths_of_center([view.camera for view in views]).abs()
    return (depth / torch.tensor([view.camera.fx for view in views], dtype=depth.dtype)).median().item()
