"""Two pictures, level by level: the colors and features in which a photograph differs from a rendering."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from PAD_utils.score import resample
from PAD_utils.score.exposure import matched_exposure, matched_light
from PAD_utils.score.noise import residual_noise
from PAD_utils.score.normality import shown_at, shown_object
from PAD_utils.score.pyramid import FeaturePyramid, imagenet_normalized

PAIRS_PER_BATCH = {"cpu": 1, "cuda": 32}  # small enough for the caches, and for memory at 800 px
_NO_DIFFERENCE = 0.03  # of colors in [0, 1]: JPEG and the fading of an outline
_MARGIN = 32  # pixels around the object, and steps in which its surroundings are cut off


@dataclass(frozen=True)
class ScoreConfig:
    """How two pictures are compared. Lengths are in pixels of the compared size, `sigma` too."""

    side: int | None  # shorter side at which pictures are compared; None: as they come
    only_shrink: bool  # leave pictures smaller than `side` as they are
    eight_bit: bool  # resize 8-bit pictures as PIL does, instead of an antialiased resize of numbers
    normalized: bool  # residuals count by how many times they exceed what is normal, and not as they are
    match_exposure: bool  # fit gain and offset of the colors first, and slow changes of brightness
    sigma: float  # standard deviation of the final Gaussian blur
    inflation: float  # of scores of views trained on, where none were held out: half of the most seen on tuning classes

    @staticmethod
    def paper() -> "ScoreConfig":
        """SplatPose's score: 224 px, squared differences of colors and features, sigma 4, the maximum."""
        return ScoreConfig(
            224, only_shrink=False, eight_bit=True, normalized=False, match_exposure=False, sigma=4.0, inflation=2.8
        )

    @staticmethod
    def fast() -> "ScoreConfig":
        """The default: finer pictures, residuals against what is normal there, indifferent to exposure."""
        return ScoreConfig(
            448, only_shrink=True, eight_bit=False, normalized=True, match_exposure=True, sigma=2.0, inflation=1.2
        )


class Levels(NamedTuple):
    """Of a batch of pairs, level by level: query minus rendering, the rendering's features, where it shows the object;
    the size (height, width) at which the pictures were compared; the rows and columns of it that were; and the noise of
    each query (`residual_noise`)."""

    differences: list[Tensor]
    rendered: list[Tensor]
    shown: list[Tensor]
    size: tuple[int, int]
    window: tuple[slice, slice]
    noise: Float[Tensor, "b"]


@torch.no_grad()
def compare_levels(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "b 3 h w"],
    renderings: Float[Tensor, "b 3 h w"],
    config: ScoreConfig,
    shown: Bool[Tensor, "b h w"] | None = None,
) -> Levels:
    """Colors and features of queries and renderings, in one batch.

    `shown`: where the renderings show the object, of their alpha; None: wherever they are not white.
    """
    pictures = _shrunk(torch.cat((queries, renderings)), config)
    count = len(queries)
    size = pictures.shape[2], pictures.shape[3]
    good = pictures[count:]
    object_ = shown_object(good) if shown is None else shown_at(shown, *size)
    if config.match_exposure:
        from_model = torch.ones_like(object_) if shown is None else object_  # the rest may be the query's own
        good = matched_light(matched_exposure(good, pictures[:count], from_model), pictures[:count], object_)
        pictures = torch.cat((pictures[:count], good))
    everything = slice(None), slice(None)
    cut = config.normalized and pictures.device.type == "cpu"
    window = _window(pictures[:count], good, object_) if cut else everything
    rows, columns = window
    pictures, object_ = pictures[..., rows, columns], object_[..., rows, columns]
    maps = pyramid(pictures)
    if config.normalized:
        maps = maps[1:] or maps  # the finest features say what the colors say, with more noise
    levels = [level.float() for level in (imagenet_normalized(pictures), *maps)]
    return Levels(
        [level[:count] - level[count:] for level in levels],
        [level[count:] for level in levels],
        [shown_at(object_, *level.shape[-2:]) for level in levels],
        size,
        window,
        residual_noise(pictures[:count], pictures[count:], object_),
    )


def _window(queries: Tensor, renderings: Tensor, object_: Bool[Tensor, "b h w"]) -> tuple[slice, slice]:
    """The rows and columns that show the object or a difference, and a margin: there is nothing to see in the rest, and
    a CPU's time is that of the network. Whole steps of the coarsest level, so that the levels' grids stay where they
    were."""
    drawn = (object_ | ((queries - renderings).abs().amax(1) > _NO_DIFFERENCE)).any(0)
    return _span(drawn.any(1)), _span(drawn.any(0))


def _span(drawn: Bool[Tensor, "n"]) -> slice:
    places = drawn.nonzero()
    if len(places) == 0:
        return slice(None)
    first, last = int(places[0]) - _MARGIN, int(places[-1]) + 1 + _MARGIN
    return slice(max(0, first // _MARGIN * _MARGIN), min(len(drawn), -(-last // _MARGIN) * _MARGIN))


def compared_size(height: int, width: int, config: ScoreConfig) -> tuple[int, int]:
    """The size at which pictures of this size are compared."""
    if config.side is None or (config.only_shrink and min(height, width) <= config.side):
        return height, width
    return resample.shrunk_size(height, width, config.side)


def usual_size(compared: tuple[int, int]) -> tuple[int, int]:
    """The size of maps of what is usual, for pictures compared at this size: they are smooth, half of it will do."""
    return (compared[0] + 1) // 2, (compared[1] + 1) // 2


def _shrunk(pictures: Float[Tensor, "b 3 h w"], config: ScoreConfig) -> Float[Tensor, "b 3 a c"]:
    """Pictures clamped to [0, 1] and brought to the size of comparison."""
    height, width = pictures.shape[-2:]
    size = compared_size(height, width, config)
    if config.eight_bit:  # as torchvision's ToPILImage: cut, not rounded, to whole levels
        levels = pictures.clamp(0, 1).mul(255).floor()
        return resample.pil_resized(levels, *size) / 255
    if size == (height, width):
        return pictures.clamp(0, 1)
    rows, columns = (_shrinking(a, b, pictures.device) for a, b in zip(size, (height, width), strict=True))
    return resample.apply(rows, pictures.clamp(0, 1), columns)


@resample.kept(64)
def _shrinking(small: int, large: int, device: torch.device) -> Float[Tensor, "s l"]:
    """Antialiased resizing along one axis, as a float32 matrix kept on the device."""
    return resample.antialiased_matrix(small, large).to(device, torch.float32)
