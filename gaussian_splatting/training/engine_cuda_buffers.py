"""The device memory of GPU training: a level's pictures and cameras, a step's buffers, what kernels share."""

from collections.abc import Sequence

import torch
from diff_gaussian_rasterization.constants import PARAMETERS
from diff_gaussian_rasterization.cuda import rasterize as cuda
from diff_gaussian_rasterization.cuda.launch import blocks
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import stack_cameras
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import parallel
from gaussian_splatting.training.state import TrainingState
from gaussian_splatting.views import View

_STATISTICS = ("grad2d_sum", "grad2d_count")
_IMAGES_AT_ONCE = 16  # looked through for background: more would take memory


class Status:
    """The few numbers that kernels share: 8 bytes each, read by the host in one copy."""

    def __init__(self, device: torch.device) -> None:
        self.words = torch.zeros(6, dtype=torch.int64, device=device)
        ints = self.words.view(torch.int32)
        self.overflow, self.step, self.finished, self.live = (ints[2 * i : 2 * i + 1] for i in range(4))
        self.total = self.words[4:5]
        self.loss = self.words[5:].view(torch.float64)

    def read(self) -> tuple[bool, int, int, float]:
        """(whether lists overflowed, steps done, entries that the last step needed, sum of the losses)."""
        words = self.words.cpu()
        overflow, step, _, _, total = words[:5].tolist()
        return bool(overflow), step, total, words[5:].view(torch.float64).item()


class DevicePictures:
    """The pictures of all views in full size, on the device: taken there once for all levels."""

    def __init__(self, views: Sequence[View], device: torch.device) -> None:
        self._of = [view.image for view in views]
        shape = (len(views), *views[0].image.shape)
        self.images: UInt8[Tensor, "v h w 3"] = torch.empty(shape, dtype=torch.uint8, device=device)
        for place, image in zip(self.images, self._of, strict=True):
            place.copy_(image)

    def are_of(self, views: Sequence[View]) -> bool:
        """Whether these are the pictures of the views, and not of the same views before a correction."""
        return len(views) == len(self._of) and all(view.image is of for view, of in zip(views, self._of, strict=True))

    def resized(self, width: int, height: int) -> UInt8[Tensor, "v h2 w2 3"]:
        """The pictures with areas averaged: on the device where these are whole pixels, else by OpenCV."""
        count, full_height, full_width, _ = self.images.shape
        if (full_width, full_height) == (width, height):
            return self.images
        small = self.images.new_empty(count, height, width, 3)
        if full_width % width or full_height % height:
            done = parallel(lambda image: area_resize(image.numpy(), width, height), self._of)
            for place, image in zip(small, done, strict=True):
                place.copy_(torch.from_numpy(image))
            return small
        area = full_height // height, full_width // width
        for place, image in zip(small, self.images, strict=True):
            mean = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1).float(), area)
            place.copy_((mean + 0.5).permute(1, 2, 0))  # becomes a whole number by leaving out the rest
        return small


class DeviceViews:
    """The pictures and cameras of one level, on the device."""

    def __init__(self, views: Sequence[View], pictures: DevicePictures, width: int, height: int) -> None:
        self.images, device = pictures.resized(width, height), pictures.images.device
        cameras = [view.camera.resized(width, height) for view in views]
        self.poses, self.intrinsics = (t.contiguous() for t in stack_cameras(cameras, device))
        self.grid = cuda.Grid(width, height)
        self._background: tuple[float, float, float] | None = None
        self._blank: UInt8[Tensor, "v blocks"] | None = None

    def blank(self, background: tuple[float, float, float]) -> UInt8[Tensor, "v blocks"]:
        """1 for each block of the loss kernel around which the picture shows nothing but `background`."""
        if self._blank is None or self._background != background:
            color = torch.tensor(background, dtype=torch.float64) * 255
            exact = bool((color == color.round()).all())
            level = color.round().to(torch.uint8).to(self.images.device)
            rows = [_blank_blocks(some, level, self.grid) for some in self.images.split(_IMAGES_AT_ONCE)]
            self._blank = torch.cat(rows) * exact
            self._background = background
        return self._blank


def _blank_blocks(
    images: UInt8[Tensor, "v h w 3"], level: UInt8[Tensor, "3"], grid: cuda.Grid
) -> UInt8[Tensor, "v blocks"]:
    side, halo = cuda.LOSS_SIDE, cuda.LOSS_HALO
    drawn = (images != level).any(-1).float()[:, None]
    right = blocks(grid.width, side) * side - grid.width + halo
    bottom = blocks(grid.height, side) * side - grid.height + halo
    padded = torch.nn.functional.pad(drawn, (halo, right, halo, bottom))
    window = side + 2 * halo  # along one axis, then the other: a thread of max_pool2d reads its whole window
    across = torch.nn.functional.max_pool2d(padded, (1, window), (1, side))
    return (torch.nn.functional.max_pool2d(across, (window, 1), (side, 1)) == 0).flatten(1).to(torch.uint8)


class Buffers:
    """All device memory of a step but the pictures, for at most `capacity` Gaussians and `entries` tile entries."""

    def __init__(
        self, grid: cuda.Grid, slots: int, coefficients: int, capacity: int, entries: int, device: torch.device
    ) -> None:
        def make(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        shapes = {"means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logits": (), "sh": (coefficients, 3)}
        self.slots, self.coefficients, self.capacity = slots, coefficients, capacity
        self.params, self.exp_avg, self.exp_avg_sq = (
            {name: make(capacity, *shape) for name, shape in shapes.items()} for _ in range(3)
        )
        self.statistics = {name: make(capacity) for name in _STATISTICS}
        self.splats, self.sums = (make(slots, capacity, cuda.SPLAT_FLOATS) for _ in range(2))
        self.radii = make(slots, capacity, dtype=torch.int32)
        self.counters = make(slots * grid.tiles * cuda.COUNTER_STRIDE, dtype=torch.int32)
        self.starts, self.ends = (make(slots * grid.tiles, dtype=torch.int32) for _ in range(2))
        self.make_lists(entries, device)
        self.image, self.v_image = (make(slots, 3, grid.height, grid.width) for _ in range(2))

    def make_lists(self, entries: int, device: torch.device) -> None:
        """Tile lists with room for `entries`."""
        self.entry_capacity = entries
        self.keys, self.scratch = torch.zeros(2, entries, dtype=torch.int64, device=device)
        self.entries = torch.zeros(entries, dtype=torch.int32, device=device)

    def tensors(self) -> list[Tensor]:
        """Every tensor, for counting bytes."""
        found = [v for v in vars(self).values() if isinstance(v, Tensor)]
        for group in (self.params, self.exp_avg, self.exp_avg_sq, self.statistics):
            found += group.values()
        return found

    def load(self, state: TrainingState) -> None:
        n = len(state)
        for name in PARAMETERS:
            self.params[name][:n].copy_(state.params[name])
            self.exp_avg[name][:n].copy_(state.exp_avg[name])
            self.exp_avg_sq[name][:n].copy_(state.exp_avg_sq[name])
        for name, value in self.statistics.items():
            value[:n].copy_(getattr(state, name))

    def store(self, state: TrainingState) -> None:
        n = len(state)
        for name in PARAMETERS:
            state.params[name].copy_(self.params[name][:n])
            state.exp_avg[name].copy_(self.exp_avg[name][:n])
            state.exp_avg_sq[name].copy_(self.exp_avg_sq[name][:n])
        for name, value in self.statistics.items():
            getattr(state, name).copy_(value[:n])
