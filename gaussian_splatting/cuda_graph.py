"""Many small kernels on a GPU recorded once and replayed as one launch, for launching takes most of their time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

import torch
from torch import Tensor

_WARM_UP_CALLS = 2  # fill caches, and let cuDNN and cuBLAS choose their algorithms, which cannot be recorded
_RANDOM_STATE_BYTES = 2 * 512  # on the GPU: two numbers, each in a block of the allocator
Result = TypeVar("Result")


@contextmanager
def captured(device: torch.device) -> Iterator[torch.cuda.CUDAGraph]:
    """A graph of what is launched inside on this thread, and not yet done. Other threads may use the GPU meanwhile, but
    not its random numbers.

    What begins the first graph puts the state of PyTorch's generator on the GPU. Where that finds no memory, the graph
    is broken so that PyTorch 2.11 aborts the process when it is freed; so room for it is made before there is a graph.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        torch.empty(_RANDOM_STATE_BYTES, dtype=torch.uint8, device=device)  # the allocator keeps it for this stream
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            yield graph
        except BaseException:
            with suppress(RuntimeError):  # one that is broken cannot be ended well
                graph.capture_end()
            raise
        graph.capture_end()
    torch.cuda.current_stream(device).wait_stream(stream)


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
        torch.cuda.empty_cache()  # what lies there unused cannot be taken while recording
        with captured(device) as self._graph:
            self._result = function(self._inputs)

    def __call__(self, inputs: Sequence[Tensor]) -> Result:
        """The result for these inputs, or of a batch that they fill the beginning of; valid until the next call."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine[: len(given)].copy_(given)
        self._graph.replay()
        return self._result
