"""Many small kernels on a GPU recorded once and replayed as one launch, for launching takes most of their time."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

_WARM_UP_CALLS = 2  # fill caches, and let cuDNN and cuBLAS choose their algorithms, which cannot be recorded
Result = TypeVar("Result")


class Recording(Generic[Result]):
    """A function of tensors as a CUDA graph, for tensors of the sizes of `inputs`.

    The function must not wait for the GPU nor upload anything. What it reads beside its inputs must not be freed as
    long as the recording lives; `held` keeps it.
    """

    def __init__(
        self, function: Callable[[list[Tensor]], Result], inputs: Sequence[Tensor], held: object = None
    ) -> None:
        device = inputs[0].device
        self._inputs, self.held = [x.clone() for x in inputs], held
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_CALLS):
                function(self._inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = function(self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> Result:
        """The result for these inputs, or of a batch that they fill the beginning of; valid until the next call."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine[: len(given)].copy_(given)
        self._graph.replay()
        return self._result
