"""A network on the GPU in batches of few sizes, each recorded once and replayed as one launch."""

import torch
from jaxtyping import Float
from torch import Tensor

from PAD_utils.score.pyramid import FeaturePyramid

_WARM_UP_CALLS = 3  # lets cuDNN choose its algorithms before recording


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
        self._recordings: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, list[Tensor]]] = {}

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        size = next((batch for batch in self.BATCHES if batch >= len(images)), self.BATCHES[-1])
        parts = []
        for some in images.split(size):
            maps = self._run(torch.cat((some, some.new_zeros(size - len(some), *some.shape[1:]))))
            parts.append([one[: len(some)].clone() for one in maps])  # the next replay overwrites its own
        return parts[0] if len(parts) == 1 else [torch.cat(level) for level in zip(*parts, strict=True)]

    def _run(self, images: Tensor) -> list[Tensor]:
        """The maps of one full batch, until the next one of this shape."""
        shape = tuple(images.shape)
        if shape not in self._recordings:
            if len(self._recordings) >= self.MAX_SHAPES:
                return self.pyramid(images)
            self._recordings[shape] = self._record(images)
        graph, static_input, static_maps = self._recordings[shape]
        static_input.copy_(images)
        graph.replay()
        return static_maps

    def _record(self, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, list[Tensor]]:
        static_input = images.clone()
        side = torch.cuda.Stream(images.device)
        side.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_CALLS):
                self.pyramid(static_input)
        torch.cuda.current_stream(images.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_maps = self.pyramid(static_input)
        return graph, static_input, static_maps
