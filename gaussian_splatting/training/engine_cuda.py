"""Training on a GPU without leaving it: a step is eight kernels in a CUDA graph that is replayed for every iteration.

Which views, which rates and how many Gaussians are read from device tables, so nothing waits for the host. Tile lists
have a fixed capacity: a step whose lists do not fit changes nothing and raises a flag, as do the steps after it; at the
end of a run the host sees the flag, enlarges the lists and goes on from that step.
"""

import logging
from collections.abc import Sequence

import torch
from diff_gaussian_rasterization.constants import PARAMETERS
from diff_gaussian_rasterization.cuda import rasterize as cuda
from diff_gaussian_rasterization.cuda.launch import blocks, launch
from diff_gaussian_rasterization.formulas import ssim_window
from jaxtyping import Float, Int64
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.cuda_graph import captured
from gaussian_splatting.training.engine_cuda_buffers import Buffers, DevicePictures, DeviceViews, Status
from gaussian_splatting.training.state import ADAM_BETAS, LossConfig, TrainingState
from gaussian_splatting.views import View

log = logging.getLogger(__name__)

_STEPS_PER_TABLE = 1024  # a longer run is cut
_GROWTH = 1.3  # spare room when buffers are made
_UPDATE_THREADS = 128


class CudaEngine:
    """The engine of train.py on a GPU. `entries_per_splat`: the first guess; lists grow to what a step needs."""

    def __init__(self, device: torch.device | str, entries_per_splat: int = 8) -> None:
        self._entries_per_splat = entries_per_splat
        self._expected = 0
        self._device = torch.device(device)
        if self._device.type == "cuda" and self._device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        self._status = Status(self._device)
        self._window = ssim_window(torch.float32, self._device)
        self._order = torch.zeros(0, dtype=torch.int32, device=self._device)
        self._rates = torch.zeros(_STEPS_PER_TABLE, 8, device=self._device)
        self._background = torch.zeros(3, device=self._device)
        self._pictures: DevicePictures | None = None
        self._views: DeviceViews | None = None
        self._buffers: Buffers | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_key: tuple[float, ...] = ()

    def expect(self, gaussians: int) -> None:
        self._expected = gaussians

    def set_views(self, views: Sequence[View], width: int, height: int) -> None:
        """Takes the pictures of a level to the device, resampled with an area filter."""
        self._views = None
        self._buffers, self._graph = None, None
        if self._pictures is None or not self._pictures.are_of(views):
            self._pictures = None  # its memory is free before the new is taken
            self._pictures = DevicePictures(views, self._device)
        self._views = DeviceViews(views, self._pictures, width, height)

    def set_cameras(self, cameras: Sequence[Camera]) -> None:
        """Writes the poses where the recorded steps read them."""
        if self._views is None:
            raise ValueError("set_views must come before set_cameras")
        self._views.poses.copy_(stack_cameras(list(cameras), self._device)[0])

    @property
    def memory_bytes(self) -> int:
        """Device memory that the engine holds: pictures and buffers."""
        tensors = self._buffers.tensors() if self._buffers else []
        if self._views and self._pictures:
            tensors = [*tensors, self._views.images, self._pictures.images]
        return sum(t.numel() * t.element_size() for t in {t.data_ptr(): t for t in tensors}.values())

    def _report_memory(self) -> None:
        assert self._buffers is not None
        room = self._buffers.capacity, self._buffers.entry_capacity
        log.debug("%.0f MB on the GPU: room for %d Gaussians, %d tile entries", self.memory_bytes / 1e6, *room)

    def run(
        self,
        state: TrainingState,
        order: Int64[Tensor, "iterations views_per_step"],
        learning_rates: dict[str, Float[Tensor, "iterations"]],
        loss: LossConfig,
    ) -> float:
        """As `Engine.run`. Waits for the GPU once per call, and once more whenever the tile lists had to grow."""
        if self._views is None:
            raise ValueError("set_views must come before run")
        iterations, slots = order.shape
        self._make_room(len(state), slots, state.params["sh"].shape[1])
        assert self._buffers is not None
        self._buffers.load(state)
        self._status.words.zero_()
        self._status.live.fill_(len(state))
        self._background.copy_(torch.tensor(loss.background))
        total = 0.0
        for first in range(0, iterations, _STEPS_PER_TABLE):
            steps = slice(first, min(first + _STEPS_PER_TABLE, iterations))
            self._write_tables(order[steps], {k: v[steps] for k, v in learning_rates.items()}, state.adam_step)
            total += self._run_table(steps.stop - steps.start, loss)
            state.adam_step += steps.stop - steps.start
        self._buffers.store(state)
        return total / max(1, iterations)

    def _make_room(self, count: int, slots: int, coefficients: int) -> None:
        """Buffers for `count` Gaussians: those there are, or new and larger ones."""
        assert self._views is not None
        old = self._buffers
        if old is not None and (old.slots, old.coefficients) == (slots, coefficients) and count <= old.capacity:
            return
        capacity = blocks(max(int(count * _GROWTH), self._expected), _UPDATE_THREADS) * _UPDATE_THREADS
        entries = max(self._entries_per_splat * capacity * slots, old.entry_capacity if old else 0)
        self._buffers, self._graph = None, None
        del old  # its memory is free before the new is taken
        self._buffers = Buffers(self._views.grid, slots, coefficients, capacity, entries, self._device)
        self._report_memory()

    def _write_tables(self, order: Int64[Tensor, "s b"], rates: dict[str, Float[Tensor, "s"]], done: int) -> None:
        if self._order.numel() < _STEPS_PER_TABLE * order.shape[1]:
            self._order = torch.zeros(_STEPS_PER_TABLE * order.shape[1], dtype=torch.int32, device=self._device)
            self._graph = None
        self._order[: order.numel()].copy_(order.to(torch.int32).flatten())
        self._rates[: order.shape[0]].copy_(_rates_table(rates, done))
        self._status.step.zero_()
        self._status.loss.zero_()

    def _run_table(self, steps: int, loss: LossConfig) -> float:
        """Does the steps of the tables; returns the sum of their losses."""
        done = 0
        while True:
            self._replay(steps - done, loss)
            overflow, done, needed, value = self._status.read()
            if not overflow:
                return value
            self._enlarge_lists(needed)

    def _enlarge_lists(self, needed: int) -> None:
        assert self._buffers is not None
        room = int(needed * _GROWTH)
        self._graph = None
        self._buffers.make_lists(room, self._device)
        self._report_memory()
        self._status.overflow.zero_()
        self._status.total.zero_()

    def _replay(self, steps: int, loss: LossConfig) -> None:
        if self._device.type != "cuda":  # the host emulator of the tests has no graphs
            for _ in range(steps):
                self._launch_step(loss)
            return
        key = (loss.ssim_weight, *loss.background)
        if self._graph is None or self._graph_key != key:
            self._graph, self._graph_key = self._capture(loss), key
        for _ in range(steps):
            self._graph.replay()

    def _capture(self, loss: LossConfig) -> torch.cuda.CUDAGraph:
        self._status.overflow.fill_(1)  # a step that does nothing: loads every kernel before the capture
        self._launch_step(loss)
        self._status.overflow.zero_()
        with captured(self._device) as graph:
            self._launch_step(loss)
        return graph

    def _launch_step(self, loss: LossConfig) -> None:
        assert self._views is not None and self._buffers is not None
        self._launch_lists(self._views, self._buffers)
        self._launch_pictures(self._views, self._buffers, loss)
        self._launch_update(self._views, self._buffers)

    def _launch_lists(self, views: DeviceViews, b: Buffers) -> None:
        grid, s, device = views.grid, self._status, self._device
        launch(
            device, "project_splats", (blocks(b.capacity, 128), b.slots, 1), 128,
            s.live, b.capacity, b.capacity, 1, 0, 0, b.coefficients, *(b.params[name] for name in PARAMETERS),
            views.poses, views.intrinsics, self._order, s.step,
            grid.width, grid.height, grid.tiles_x, grid.tiles_y, None, b.splats, b.radii, None, b.counters, s.overflow,
        )  # fmt: skip
        launch(
            device, "allocate_tiles", (blocks(b.slots * grid.tiles, 256), 1, 1), 256,
            b.slots * grid.tiles, b.entry_capacity, b.counters, b.starts, b.ends, s.total, s.overflow,
        )  # fmt: skip
        launch(
            device, "scatter_splats", (blocks(b.capacity, 128), b.slots, 1), 128,
            s.live, b.capacity, b.capacity, grid.tiles_x, grid.tiles_y, b.entry_capacity,
            b.splats, b.radii, None, b.counters, b.keys, s.overflow,
        )  # fmt: skip
        launch(
            device, "sort_tiles", (b.slots * grid.tiles, 1, 1), 256,
            b.starts, b.ends, b.counters, b.keys, b.scratch, b.entries, s.overflow,
        )  # fmt: skip

    def _launch_pictures(self, views: DeviceViews, b: Buffers, loss: LossConfig) -> None:
        grid, s, device = views.grid, self._status, self._device
        count = b.slots * 3 * grid.width * grid.height
        launch(
            device, "blend_forward", (grid.blend_blocks, b.slots, 1), 32 * cuda.BLEND_WARPS,
            grid.tiles_x, grid.tiles, b.capacity, grid.width, grid.height, b.starts, b.ends, b.entries, b.splats,
            self._background, 0, b.image, None, None, s.overflow,
        )  # fmt: skip
        launch(
            device, "photometric_gradient", (grid.loss_blocks, 3, b.slots), cuda.LOSS_THREADS,
            grid.width, grid.height, b.image, views.images, None, self._window, self._order, s.step,
            grid.tiles_x, grid.tiles_y, b.starts, b.ends, views.blank(loss.background),
            (1 - loss.ssim_weight) / count, loss.ssim_weight / count, b.v_image, s.loss, s.overflow,
            shared_bytes=cuda.LOSS_SHARED_BYTES,
        )  # fmt: skip
        launch(
            device, "blend_backward", (grid.blend_blocks, b.slots, 1), 32 * cuda.BLEND_WARPS,
            grid.tiles_x, grid.tiles, b.capacity, grid.width, grid.height, b.starts, b.ends, b.entries, b.splats,
            0, b.image, None, None, b.v_image, None, None, b.sums, s.overflow,
        )  # fmt: skip

    def _launch_update(self, views: DeviceViews, b: Buffers) -> None:
        grid, s = views.grid, self._status
        tensors = [group[name] for group in (b.params, b.exp_avg, b.exp_avg_sq) for name in PARAMETERS]
        launch(
            self._device, f"update_splats_{b.coefficients}", (blocks(b.capacity, _UPDATE_THREADS), 1, 1),
            _UPDATE_THREADS, s.live, b.slots, b.capacity, grid.width, grid.height, *tensors,
            views.poses, views.intrinsics, self._order, self._rates, s.step, b.splats, b.radii, b.sums,
            *b.statistics.values(), s.finished, s.total, s.overflow,
        )  # fmt: skip


def _rates_table(rates: dict[str, Float[Tensor, "s"]], done: int) -> Float[Tensor, "s 8"]:
    """Rates and bias corrections of Adam, in the order of `Rates` in csrc/cuda/train.cu."""
    names = (*PARAMETERS, "sh_rest")
    step = torch.arange(rates["means"].shape[0], dtype=torch.float64) + (done + 1)
    bias_1, bias_2 = (1 - beta**step for beta in ADAM_BETAS)
    columns = [*(rates[name].to(torch.float64) for name in names), 1 / bias_1, 1 / bias_2.sqrt()]
    return torch.stack(columns, dim=1).to(torch.float32)
