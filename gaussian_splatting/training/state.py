"""What an engine of training works on and what it promises.

An engine runs many optimization steps on a TrainingState between two events. An event (density control, a new picture
size, a checkpoint) happens outside, between two calls of `Engine.run`; inside, nothing changes shape. That is what lets
an engine run a whole segment without returning to Python.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gaussian_splatting.background import Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.views import View

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-15  # as 3DGS: gradients of a mean over pixels are tiny, and 1e-8 would damp them


@dataclass(frozen=True)
class LossConfig:
    """(1 - ssim_weight) L1 + ssim_weight (1 - SSIM), on pictures over `background`, a color in [0, 1]."""

    ssim_weight: float = 0.2
    background: Color = (1.0, 1.0, 1.0)


@dataclass
class TrainingState:
    """Raw parameters (the fields of Gaussians), their Adam moments under the same names, and the density statistics
    since the last density event: `grad2d_sum` sums |dL_view/d(2D mean)| over the views that drew the Gaussian, in
    normalized device coordinates (pixels times W/2, H/2, as 3DGS), `grad2d_count` counts those views. All float32 on
    one device."""

    params: dict[str, Tensor]
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]
    adam_step: int
    grad2d_sum: Float[Tensor, "n"]
    grad2d_count: Float[Tensor, "n"]

    @staticmethod
    def start(gaussians: Gaussians) -> "TrainingState":
        """Zero moments and statistics around `gaussians`, whose tensors are copied."""
        params = {k: v.detach().to(torch.float32).clone().contiguous() for k, v in gaussians.as_dict().items()}
        zeros = params["opacity_logits"].new_zeros
        n = len(gaussians)
        moments = [{k: torch.zeros_like(v) for k, v in params.items()} for _ in range(2)]
        return TrainingState(params, moments[0], moments[1], 0, zeros(n), zeros(n))

    def gaussians(self) -> Gaussians:
        """The model as it stands; shares the tensors."""
        return Gaussians(**self.params)

    def clear_statistics(self) -> None:
        n = len(self)
        for name in ("grad2d_sum", "grad2d_count"):
            setattr(self, name, self.params["means"].new_zeros(n))

    def __len__(self) -> int:
        return self.params["means"].shape[0]


@runtime_checkable
class Engine(Protocol):
    """Runs segments of training on one device."""

    def expect(self, gaussians: int) -> None:
        """Says how many Gaussians there will be at most, where that is known: room is made for them at once."""

    def set_views(self, views: Sequence[View], width: int, height: int) -> None:
        """Takes the pictures of a level: resampled to width x height with an area filter once, kept as uint8."""

    def set_cameras(self, cameras: Sequence[Camera]) -> None:
        """Other poses for the views that it holds; intrinsics stay."""

    def run(
        self,
        state: TrainingState,
        order: Int64[Tensor, "iterations views_per_step"],
        learning_rates: dict[str, Float[Tensor, "iterations"]],
        loss: LossConfig,
    ) -> float:
        """One Adam step per row of `order` (indices into the views), in place; returns the mean loss.

        The loss of a step is the mean over its views. `learning_rates` has a key for every parameter and "sh_rest" for
        the harmonics above the constant one ("sh" is the constant's). Adam: ADAM_BETAS, ADAM_EPS, bias correction by
        `state.adam_step`, which is counted up. The tables are on the CPU.
        """
        ...
