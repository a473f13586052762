"""The rasterizer and the loss on a GPU: tensors in, tensors out. `ops` makes autograd operations of these functions.

Everything runs on torch's current stream of the tensors' device. Shapes as in `rasterize`; all float32 and contiguous.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import SSIM_RADIUS
from diff_gaussian_rasterization.cuda.launch import blocks, launch
from diff_gaussian_rasterization.formulas import ssim_window
from diff_gaussian_rasterization.types import Forward, Gradients, PictureGradient, Scene

TILE = 16  # px; csrc/cuda/device.h holds the same sizes
SPLAT_FLOATS = 12
PARTS = 8
BLEND_WARPS = 4
COUNTER_STRIDE = 32  # ints from one counter to the next
MAX_SPLATS = 1 << (32 - PARTS)
_MAX_ENTRIES = 2**31 - 1
_HEADER = 4  # int32 words before the lists: the flag, and the number of entries as int64 from the third on

LOSS_SIDE = 32  # px; csrc/cuda/loss.cu
LOSS_THREADS = 384
LOSS_HALO = 2 * SSIM_RADIUS  # px around a block that its gradient depends on
_WIDE, _MID = LOSS_SIDE + 2 * LOSS_HALO, LOSS_SIDE + LOSS_HALO
LOSS_SHARED_BYTES = 4 * (2 * _WIDE * (_WIDE + 1) + 4 * _WIDE * (_MID + 1))


class Grid(NamedTuple):
    """A picture cut into tiles."""

    width: int
    height: int

    @property
    def tiles_x(self) -> int:
        return blocks(self.width, TILE)

    @property
    def tiles_y(self) -> int:
        return blocks(self.height, TILE)

    @property
    def tiles(self) -> int:
        return self.tiles_x * self.tiles_y

    @property
    def blend_blocks(self) -> int:
        return self.tiles * (PARTS // BLEND_WARPS)

    @property
    def loss_blocks(self) -> int:
        return blocks(self.width, LOSS_SIDE) * blocks(self.height, LOSS_SIDE)


class Lists(NamedTuple):
    """The lists of all tiles (int32): a flag that is 0 unless they had no room, their starts and ends, the entries."""

    head: Tensor
    entries: Tensor

    @staticmethod
    def of(buffer: Tensor, tiles: int) -> "Lists":
        """The lists in one tensor, as `forward` keeps them."""
        return Lists(*buffer.tensor_split([_HEADER + 2 * tiles]))

    def joined(self) -> Tensor:
        return torch.cat(self)

    @property
    def flag(self) -> Tensor:
        return self.head[:1]

    @property
    def total(self) -> Tensor:
        """The number of entries, int64."""
        return self.head[2:4].view(torch.int64)

    @property
    def starts(self) -> Tensor:
        return self.head[_HEADER:].chunk(2)[0]

    @property
    def ends(self) -> Tensor:
        return self.head[_HEADER:].chunk(2)[1]


class ListBuffers:
    """Memory for the tile lists of one drawing after the other, so that none waits for the GPU to learn how long they
    are. A drawing whose lists do not fit is left empty; `grow` tells afterwards whether that happened to any."""

    def __init__(self, device: torch.device, entries: int) -> None:
        self.needed = torch.zeros(1, dtype=torch.int64, device=device)
        self._allocate(entries)

    def grow(self) -> bool:
        """Whether the lists since the last call were too long; if so there is room for them from now on. Waits for the
        GPU. Raises ValueError for more entries than can be numbered."""
        needed = int(self.needed.item())
        if needed <= self.capacity:
            return False
        _check_entries(needed)
        self._allocate(min(_MAX_ENTRIES, needed + needed // 4))
        return True

    def _allocate(self, entries: int) -> None:
        self.capacity = entries
        self.keys, self.scratch = torch.empty(2, entries, dtype=torch.int64, device=self.needed.device)
        self.entries = torch.empty(entries, dtype=torch.int32, device=self.needed.device)


def project_and_bin(scene: Scene, buffers: ListBuffers | None = None) -> tuple[Tensor, Tensor, Lists]:
    """(radii (B, N), splats (B, N, 12), the sorted lists of all tiles). Waits for the GPU once, to learn how long they
    are, unless there are `buffers`. Raises ValueError for more Gaussians or tile entries than can be numbered."""
    means, width, height = scene.means, scene.width, scene.height
    device, n, views, grid = means.device, means.shape[0], scene.cam_from_world.shape[0], Grid(width, height)
    if n >= MAX_SPLATS:
        raise ValueError(f"means: the GPU rasterizer draws fewer than {MAX_SPLATS} Gaussians, got {n}")
    splats, radii = means.new_empty(views, n, SPLAT_FLOATS), torch.empty(views, n, dtype=torch.int32, device=device)
    tiles = views * grid.tiles
    head = torch.zeros(_HEADER + 2 * tiles, dtype=torch.int32, device=device)
    lists = Lists(head, head[:0] if buffers is None else buffers.entries)
    counters = torch.zeros(tiles * COUNTER_STRIDE, dtype=torch.int32, device=device)
    launch(
        device, "project_splats", (blocks(n, 128), views, 1), 128,
        None, n, n, 0, scene.sh_count, *scene[:5], scene.cam_from_world, scene.intrinsics, None, None,
        width, height, grid.tiles_x, grid.tiles_y, scene.screen_offsets, splats, radii, counters, lists.flag,
    )  # fmt: skip
    launch(
        device, "allocate_tiles", (blocks(tiles, 256), 1, 1), 256,
        tiles, buffers.capacity if buffers else _MAX_ENTRIES,
        counters, lists.starts, lists.ends, lists.total, lists.flag,
    )  # fmt: skip
    if buffers is None:
        entry_count = int(lists.total.item())
        _check_entries(entry_count)
        lists = Lists(head, head.new_empty(entry_count))
        keys, scratch = torch.empty(2, entry_count, dtype=torch.int64, device=device)
    else:
        torch.maximum(buffers.needed, lists.total, out=buffers.needed)
        entry_count, keys, scratch = buffers.capacity, buffers.keys, buffers.scratch
    if entry_count:
        launch(
            device, "scatter_splats", (blocks(n, 128), views, 1), 128,
            None, n, n, grid.tiles_x, grid.tiles_y, entry_count, splats, radii, counters, keys, lists.flag,
        )  # fmt: skip
        launch(
            device, "sort_tiles", (tiles, 1, 1), 256,
            lists.starts, lists.ends, counters, keys, scratch, lists.entries, lists.flag,
        )  # fmt: skip
    return radii, splats, lists


def _check_entries(count: int) -> None:
    if count > _MAX_ENTRIES:
        raise ValueError(f"scales: the splats cover {count} tiles in all, too many; draw fewer views at once")


def forward(scene: Scene) -> Forward:
    """Draws the Gaussians. Raises what `project_and_bin` does."""
    radii, splats, lists = project_and_bin(scene)
    means, width, height = scene.means, scene.width, scene.height
    n, views, grid = means.shape[0], scene.cam_from_world.shape[0], Grid(width, height)
    image, remaining, depth = (means.new_empty(views, *c, height, width) for c in ((3,), (), ()))
    launch(
        means.device, "blend_forward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, n, width, height, lists.starts, lists.ends, lists.entries, splats, scene.background,
        image, remaining, depth, lists.flag,
    )  # fmt: skip
    return Forward(image, 1 - remaining, depth, radii, [splats, lists.joined(), remaining])


def backward(scene: Scene, state: list[Tensor], v: PictureGradient) -> Gradients:
    """The gradients of a loss from those of the picture and what `forward` made: image, depth, radii, its state."""
    image, depth, radii, splats, lists, remaining = state
    means, width, height = scene.means, scene.width, scene.height
    device, n, views, grid = means.device, means.shape[0], scene.cam_from_world.shape[0], Grid(width, height)
    kept = Lists.of(lists, views * grid.tiles)
    v_image = torch.zeros_like(image) if v.image is None else v.image.contiguous()
    v_depth = None if v.depth is None else v.depth.contiguous()
    v_remaining = None if v.alpha is None else (-v.alpha).contiguous()
    sums = means.new_zeros(views, n, SPLAT_FLOATS)
    launch(
        device, "blend_backward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, n, width, height, kept.starts, kept.ends, kept.entries, splats,
        image, remaining, depth, v_image, v_remaining, v_depth, sums, kept.flag,
    )  # fmt: skip
    v_scene = (torch.zeros_like(tensor) for tensor in (*scene.cloud, scene.cam_from_world, scene.intrinsics))
    v_background = (v_image * remaining[:, None]).sum((0, 2, 3))
    out = Gradients(*v_scene, v_background, means.new_zeros(views, n, 2))
    launch(
        device, "backward_splats", (blocks(n, 128), views, 1), 128,
        n, scene.sh_count, means, scene.scales, scene.quats, scene.colors, scene.cam_from_world, scene.intrinsics,
        width, height, splats, radii, sums, *out[:7], out.screen_offsets,
    )  # fmt: skip
    return out


def photometric_loss(
    image: Tensor, target: Tensor, ssim_weight: float, with_gradient: bool = True
) -> tuple[Tensor, Tensor]:
    """(loss, a scalar; its gradient in `image`, which comes with it, asked for or not), of `ops.photometric_loss`."""
    views, channels, height, width = image.shape
    device, grid, count = image.device, Grid(width, height), image.numel()
    v_image, value = torch.empty_like(image), torch.zeros(1, dtype=torch.float64, device=device)
    target = target.contiguous()
    as_bytes = target.dtype == torch.uint8
    launch(
        device, "photometric_gradient", (grid.loss_blocks, channels, views), LOSS_THREADS,
        width, height, image, target if as_bytes else None, None if as_bytes else target,
        ssim_window(torch.float32, device), None, None, grid.tiles_x, grid.tiles_y, None, None, None,
        (1 - ssim_weight) / count, ssim_weight / count, v_image, value, None,
        shared_bytes=LOSS_SHARED_BYTES,
    )  # fmt: skip
    return value[0].to(image.dtype), v_image
