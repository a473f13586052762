"""The pose search on a GPU: it never waits, and runs as one CUDA graph where few pictures come again and again, for a
picture on its own is over before the host could launch its kernels."""

from collections.abc import Callable

import torch
from diff_gaussian_rasterization.cuda.rasterize import ListBuffers
from diff_gaussian_rasterization.types import PoseState
from torch import Tensor

from gaussian_splatting.cuda_graph import captured
from gaussian_splatting.pose.search import Scene, SearchResult

Search = Callable[[Scene, PoseState], SearchResult]
_Sizes = tuple[torch.Size, ...]
_FIRST_ENTRIES = 1 << 22  # of tile lists: 84 MB
_FEW_PICTURES = 4  # more keep a GPU busy by themselves, and their graph would take much memory
_MOST_GRAPHS = 4  # one for each number of few pictures; recording one takes longer than ten searches


def search_buffers(device: torch.device) -> ListBuffers:
    """Room for the tile lists of the first search on a GPU."""
    return ListBuffers(device, _FIRST_ENTRIES)


class GpuSearch:
    """A search on a GPU with certain models. What it finds is valid until the next call."""

    def __init__(self, search: Search, buffers: ListBuffers) -> None:
        """`buffers` may serve other searches too, one after the other."""
        self._search = search
        self._buffers = buffers
        self._graphs: dict[_Sizes, _Graph | None] = {}  # None: these came once; the last used last

    def __call__(self, scene: Scene, state: PoseState) -> SearchResult:
        """From the second time on that pictures and poses of the same sizes come, by a graph."""
        if len(scene.background) <= _FEW_PICTURES:
            sizes = tuple(tensor.shape for tensor in _tensors(scene, state))
            known, graph = sizes in self._graphs, self._graphs.pop(sizes, None)
            if known:
                graph = graph or _Graph(self._search, scene, state, self._buffers.capacity)
                found = graph(scene, state)
                if not graph.buffers.grow():
                    self._graphs[sizes] = graph
                    return found
            if len(self._graphs) >= _MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[sizes] = None
        while True:
            found = self._search(scene._replace(buffers=self._buffers), state)
            if not self._buffers.grow():
                return found


class _Graph:
    """A recorded search. Its models are for good those of the scene it was recorded with; all else is copied in."""

    def __init__(self, search: Search, scene: Scene, state: PoseState, entries: int) -> None:
        self.buffers = ListBuffers(scene.center.device, entries)
        pictures = {
            side: level._replace(images=level.images.clone(), intrinsics=level.intrinsics.clone())
            for side, level in scene.pictures.items()
        }
        self._scene = Scene(pictures, scene.center.clone(), scene.background.clone(), self.buffers)
        self._state = PoseState(*(tensor.clone() for tensor in state))
        torch.cuda.empty_cache()  # what lies there unused cannot be taken while recording
        with captured(scene.center.device) as self._graph:
            self._found = search(self._scene, self._state)

    def __call__(self, scene: Scene, state: PoseState) -> SearchResult:
        for mine, given in zip(_tensors(self._scene, self._state), _tensors(scene, state), strict=True):
            mine.copy_(given)
        self._graph.replay()
        return self._found


def _tensors(scene: Scene, state: PoseState) -> list[Tensor]:
    """All that differs from one picture to the next."""
    pictures = [tensor for level in scene.pictures.values() for tensor in (level.images, level.intrinsics)]
    return [*pictures, scene.center, scene.background, *state]
