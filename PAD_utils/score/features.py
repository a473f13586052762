"""Pictures to feature maps: a pretrained network where its weights can be had, colors and gradients where not."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from PAD_utils.score.features_lite import LITE_NAMES, LiteFeatures, load_lite
from PAD_utils.score.pyramid import FeaturePyramid, WeightsUnavailable, imagenet_normalized

if TYPE_CHECKING:
    from PAD_utils.score.features_torchvision import TorchvisionFeatures

PAPER_FEATURES = "efficientnet-b4"
FAST_FEATURES = "efficientnet-lite0"  # comes with its weights in a package


class GradientFeatures:
    """Colors and their differences along x and y at strides 1, 2, 4 and 8: nine channels a level, no weights.

    Differences tell a dent or a scratch in the part's own color, colors tell a stain; both fall off slowly with the
    scale because every level averages what is under it (binomial filter, then every second pixel's mean).
    """

    name = "gradient"
    LEVELS = 4
    DIFFERENCE_GAIN = 2.0  # a step edge of contrast d then counts as much as a patch of contrast d

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        levels = []
        for _ in range(self.LEVELS):
            images = _binomial(images)
            levels.append(torch.cat((images, self.DIFFERENCE_GAIN * _differences(images)), dim=1))
            if min(images.shape[-2:]) < 4:
                break
            images = F.avg_pool2d(images, 2, ceil_mode=True, count_include_pad=False)
        return levels


class CallableFeatures:
    """Any function from ImageNet-normalized images (b, 3, h, w) to feature maps, such as one's own network."""

    def __init__(self, name: str, function: Callable[[Tensor], list[Tensor]]) -> None:
        self.name = name
        self._function = function

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        return self._function(imagenet_normalized(images))


def make_features(
    name: str, weights: Path | None = None, device: torch.device | str = "cpu", half: bool = True
) -> FeaturePyramid:
    """The pyramid called `name`: "gradient", "efficientnet-lite0" to 2, or any convolutional backbone of torchvision.

    `weights` is a state dict of that backbone (torchvision's naming; for EfficientNet also the original's
    `efficientnet-b4-6ed6700e.pth`). Without it the Lite networks take those of their installed packages, the others
    torchvision's ImageNet weights from torch hub's cache or a download. When there are none to be had, warns once and
    falls back to "gradient": look at the result's `name`. On a GPU a network computes in half precision if `half`.
    Raises UserError for an unknown name or an unfit file.
    """
    if name == GradientFeatures.name:
        return GradientFeatures()
    try:
        return _for_device(_load(name, weights), torch.device(device), half)
    except WeightsUnavailable as reason:
        warnings.warn(
            f"NO PRETRAINED FEATURES: {reason}. Scoring with the weaker 'gradient' features instead of {name}.",
            stacklevel=2,
        )
        return GradientFeatures()


def _load(name: str, weights: Path | None) -> "LiteFeatures | TorchvisionFeatures":
    """The network on the CPU. Raises as `load_lite` and `load_backbone`."""
    if name in LITE_NAMES:
        return load_lite(name, weights)
    from PAD_utils.score.features_torchvision import load_backbone  # takes seconds to import: only when asked for

    return load_backbone(name, weights)


def _for_device(backbone: "LiteFeatures | TorchvisionFeatures", device: torch.device, half: bool) -> FeaturePyramid:
    """Moves it to the device; on a GPU captured, and with `half` in half precision (maps change by less than 1 % of
    their range)."""
    backbone = backbone.to(device)
    if device.type != "cuda":
        return backbone
    from PAD_utils.score.features_cuda import CapturedFeatures

    return CapturedFeatures(backbone.half() if half else backbone)


def _binomial(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Each channel filtered by (1, 2, 1)/4 both ways, borders repeated."""
    x = F.pad(images, (1, 1, 1, 1), mode="replicate")
    x = 0.25 * (x[..., :-2] + x[..., 2:]) + 0.5 * x[..., 1:-1]
    return 0.25 * (x[..., :-2, :] + x[..., 2:, :]) + 0.5 * x[..., 1:-1, :]


def _differences(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
    """Central differences along x, then along y: twice the channels; 0 across the border's repeated pixel."""
    x = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = 0.5 * (x[..., 1:-1, 2:] - x[..., 1:-1, :-2])
    down = 0.5 * (x[..., 2:, 1:-1] - x[..., :-2, 1:-1])
    return torch.cat((across, down), dim=1)
