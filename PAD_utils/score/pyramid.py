"""What the score asks of features, and the normalization that ImageNet networks want."""

from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class FeaturePyramid(Protocol):
    """Images (b, 3, h, w) in [0, 1] to feature maps (b, c, h', w'), fine to coarse, each covering the whole image."""

    name: str

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]: ...


class WeightsUnavailable(Exception):
    """A backbone's weights can neither be found nor downloaded; the text says why."""


def imagenet_normalized(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1], shifted and scaled as torchvision's ImageNet networks were trained with."""
    mean, std = _imagenet_constants(images.dtype, images.device)
    return (images - mean) / std


@lru_cache(maxsize=8)
def _imagenet_constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 1, 1), kept on the device: an upload cannot be recorded in a CUDA graph."""
    mean = torch.tensor((0.485, 0.456, 0.406), dtype=dtype, device=device)
    std = torch.tensor((0.229, 0.224, 0.225), dtype=dtype, device=device)
    return mean[:, None, None], std[:, None, None]
