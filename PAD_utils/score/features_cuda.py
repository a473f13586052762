"""A network on the GPU in batches of few sizes, each recorded once and replayed as one launch."""

import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.cuda_graph import Recording
from PAD_utils.score.pyramid import FeaturePyramid


class CapturedFeatures:
    """A pyramid that sees pictures in batches of 2, 4 or 16, the last one filled up, as CUDA graphs.

    cuDNN plans every convolution anew for every size of batch, which takes seconds for a network; and of a single pair
    a network spends most of its time being launched.
    """

    BATCHES = (2, 4, 16)
    MAX_SHAPES = 8  # recordings kept; each holds its own activations

    def __init__(self, pyramid: FeaturePyramid) -> None:
        self.name = pyramid.name
        self.pyramid = pyramid
        self._recordings: dict[tuple[int, ...], Recording[list[Tensor]]] = {}

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        size = next((batch for batch in self.BATCHES if batch >= len(images)), self.BATCHES[-1])
        parts = [self._batch(some, size) for some in images.split(size)]
        return parts[0] if len(parts) == 1 else [torch.cat(level) for level in zip(*parts, strict=True)]

    def _batch(self, images: Tensor, size: int) -> list[Tensor]:
        shape = size, *images.shape[1:]
        if shape not in self._recordings:
            if len(self._recordings) >= self.MAX_SHAPES:
                return self.pyramid(images)
            self._recordings[shape] = Recording(lambda x: self.pyramid(x[0]), [images.new_zeros(shape)])
        return [level[: len(images)].clone() for level in self._recordings[shape]([images])]
