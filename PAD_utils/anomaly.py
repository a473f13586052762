"""Anomaly maps: how a photograph differs from the rendering of a good object at the same pose."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from PAD_utils import resample
from PAD_utils.features import FeaturePyramid, imagenet_normalised
from PAD_utils.normality import Normality

_PAIRS_PER_BATCH = {"cpu": 2, "cuda": 32}  # small enough for the caches and for memory at 800 px


@dataclass(frozen=True)
class ScoreConfig:
    """How two pictures are compared. Lengths are in pixels of the compared size, `sigma` too."""

    side: int | None  # shorter side at which pictures are compared; None: as they come
    only_shrink: bool  # leave pictures smaller than `side` as they are
    eight_bit: bool  # resize 8-bit pictures as PIL does, instead of an antialiased resize of numbers
    mean_channels: bool  # a level counts by the mean over its channels, not their sum
    sigma: float  # standard deviation of the final Gaussian blur

    @staticmethod
    def paper() -> "ScoreConfig":
        """SplatPose's score: 224 px, squared differences of colours and features, sigma 4, the maximum."""
        return ScoreConfig(side=224, only_shrink=False, eight_bit=True, mean_channels=False, sigma=4.0)

    @staticmethod
    def fast() -> "ScoreConfig":
        """The default: finer pictures and levels that count alike."""
        return ScoreConfig(side=448, only_shrink=True, eight_bit=False, mean_channels=True, sigma=3.0)


@dataclass(frozen=True)
class Scores:
    """Anomaly maps at the queries' size (float32, larger is more anomalous) and one score an image."""

    maps: Float[Tensor, "q h w"]
    image_scores: Float[Tensor, "q"]


@torch.no_grad()
def score_pairs(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "q 3 h w"],
    renderings: Float[Tensor, "r 3 a b"],
    config: ScoreConfig,
    normality: Normality | None = None,
) -> Scores:
    """Scores each query (in [0, 1]) against its rendering (clamped here) of the same size, on the pictures' device.

    Raises ValueError if the two batches do not have the same shape.
    """
    if queries.shape != renderings.shape:
        raise ValueError(f"queries {tuple(queries.shape)} and renderings {tuple(renderings.shape)} differ in shape")
    step = _PAIRS_PER_BATCH[queries.device.type]
    parts = [
        _score_batch(pyramid, queries[i : i + step], renderings[i : i + step], config, normality)
        for i in range(0, len(queries), step)
    ]
    return Scores(torch.cat([p.maps for p in parts]), torch.cat([p.image_scores for p in parts]))


def _score_batch(
    pyramid: FeaturePyramid, queries: Tensor, renderings: Tensor, config: ScoreConfig, normality: Normality | None
) -> Scores:
    """As `score_pairs`, all pairs at once."""
    count, _, height, width = queries.shape
    pictures = _compared_size(torch.cat((queries, renderings)), config)
    h, w = pictures.shape[-2:]
    total = torch.zeros(count, h, w, dtype=torch.float32, device=queries.device)
    for level in [imagenet_normalised(pictures), *pyramid(pictures)]:
        difference = (level[:count].float() - level[count:].float()).square()
        energy = difference.mean(1) if config.mean_channels else difference.sum(1)
        total += resample.apply(
            _blurred_upsampling(h, energy.shape[1], config.sigma, energy.device),
            energy,
            _blurred_upsampling(w, energy.shape[2], config.sigma, energy.device),
        )
    image_scores = total.flatten(1).amax(1)
    rows = _blurred_upsampling(height, h, 0.0, total.device)
    columns = _blurred_upsampling(width, w, 0.0, total.device)
    maps = resample.apply(rows, total, columns)
    return Scores(maps, image_scores)


def _compared_size(pictures: Float[Tensor, "b 3 h w"], config: ScoreConfig) -> Float[Tensor, "b 3 a c"]:
    """Pictures clamped to [0, 1] and brought to the size of comparison."""
    height, width = pictures.shape[-2:]
    size = height, width
    if config.side is not None and not (config.only_shrink and min(size) <= config.side):
        size = resample.shrunk_size(height, width, config.side)
    if config.eight_bit:  # as torchvision's ToPILImage: cut, not rounded, to whole levels
        levels = pictures.clamp(0, 1).mul(255).floor()
        return resample.pil_resized(levels, *size) / 255
    rows = resample.antialiased_matrix(size[0], height).to(pictures)
    columns = resample.antialiased_matrix(size[1], width).to(pictures)
    return resample.apply(rows, pictures.clamp(0, 1), columns)


@lru_cache(maxsize=256)
def _blurred_upsampling(fine: int, coarse: int, sigma: float, device: torch.device) -> Float[Tensor, "f c"]:
    """Bilinear upsampling followed by the Gaussian blur, along one axis, as one float32 matrix kept on the device."""
    return (resample.gaussian_matrix(fine, sigma) @ resample.bilinear_matrix(fine, coarse)).to(device, torch.float32)
