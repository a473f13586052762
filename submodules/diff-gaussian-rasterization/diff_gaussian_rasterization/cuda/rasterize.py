"""The rasterizer and the loss on a GPU: tensors in, tensors out. `ops` makes autograd operations of these functions.

Everything runs on torch's current stream of the tensors' device. Shapes as in `rasterize`; all float32 and contiguous.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import SSIM_RADIUS
from diff_gaussian_rasterization.cuda.launch import blocks, launch
from diff_gaussian_rasterization.formulas import ssim_window
from diff_gaussian_rasterization.types import ALL, Forward, Gradients, PictureGradient, Scene, Wanted

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
    """The lists of all tiles (int32), of which `head` and `entries` are kept: a flag that is 0 unless they had no room,
    the number of entries (int64), the starts and ends of the lists, the entries."""

    head: Tensor
    entries: Tensor
    flag: Tensor
    total: Tensor
    starts: Tensor
    ends: Tensor

    @staticmethod
    def of(head: Tensor, entries: Tensor) -> "Lists":
        tiles = (head.shape[0] - _HEADER) // 2
        flag, total, starts, ends = head.split_with_sizes((2, 2, tiles, tiles))
        return Lists(head, entries, flag, total.view(torch.int64), starts, ends)


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


# Tile entries that the next drawing of so many views of this size gets room for on a device.
_room: dict[tuple[torch.device, int, int, int], int] = {}
_SPARE = 1.25
_FORGET = 0.99  # per drawing, of room that was not needed
Result = TypeVar("Result")
Radii = tuple[Tensor, ...]  # those of what is drawn, and those of 3DGS


def project_and_bin(scene: Scene, buffers: ListBuffers | None = None) -> tuple[Radii, Tensor, Lists]:
    """(both kinds of radii (B, N), splats (B, N, 12), the sorted lists of all tiles). Waits for the GPU, to learn how
    long they are, unless there are `buffers`. Raises ValueError for more Gaussians or tile entries than can be
    numbered."""
    if buffers is None:
        radii, splats, lists = with_room(scene, lambda *made: made)
        return radii, splats, lists._replace(entries=lists.entries[: int(lists.total.item())])
    lists = _new_lists(scene, 0)._replace(entries=buffers.entries)
    radii, splats, counters = _project(scene, lists, buffers.capacity)
    torch.maximum(buffers.needed, lists.total, out=buffers.needed)
    _sort(scene, splats, radii, lists, counters, (buffers.keys, buffers.scratch))
    return radii, splats, lists


def with_room(scene: Scene, draw: Callable[[Radii, Tensor, Lists], Result]) -> Result:
    """What `draw` makes of (radii, splats, lists). All of it is launched with the room that earlier drawings needed;
    only then is the GPU asked how much this one needs, which it has counted by then. Where that is more, it is done
    again: so the host waits, but the GPU does not."""
    device = scene.means.device
    kind = device, scene.cam_from_world.shape[0], scene.width, scene.height
    while True:
        room = _room.get(kind, 0)
        lists = _new_lists(scene, room)
        radii, splats, counters = _project(scene, lists, room)
        needed_of = _read_later(lists.total)
        keys, scratch = torch.empty(2, room, dtype=torch.int64, device=device)
        _sort(scene, splats, radii, lists, counters, (keys, scratch))
        result = draw(radii, splats, lists)
        needed = needed_of()
        _check_entries(needed)
        _room[kind] = min(_MAX_ENTRIES, max(int(room * _FORGET), int(needed * _SPARE)))
        if needed <= room:
            return result


def _read_later(total: Tensor) -> Callable[[], int]:
    """How to read a number of the GPU without waiting for what is launched from now on."""
    if not total.is_cuda:  # the host emulator of the tests
        return lambda: int(total.item())
    host, counted = torch.empty(1, dtype=torch.int64, pin_memory=True), torch.cuda.Event()
    host.copy_(total, non_blocking=True)
    counted.record(torch.cuda.current_stream(total.device))

    def read() -> int:
        counted.synchronize()
        return int(host.item())

    return read


def _new_lists(scene: Scene, room: int) -> Lists:
    tiles = scene.cam_from_world.shape[0] * Grid(scene.width, scene.height).tiles
    head = torch.zeros(_HEADER + 2 * tiles, dtype=torch.int32, device=scene.means.device)
    return Lists.of(head, head.new_empty(room))


def _project(scene: Scene, lists: Lists, room: int) -> tuple[Radii, Tensor, Tensor]:
    """(both kinds of radii, splats, where each tile's list begins): projects, counts and places the lists."""
    means, grid = scene.means, Grid(scene.width, scene.height)
    device, n, views = means.device, means.shape[0], scene.cam_from_world.shape[0]
    if n >= MAX_SPLATS:
        raise ValueError(f"means: the GPU rasterizer draws fewer than {MAX_SPLATS} Gaussians, got {n}")
    splats = means.new_empty(views, n, SPLAT_FLOATS)
    radii = tuple(torch.empty(views, n, dtype=torch.int32, device=device) for _ in range(2))
    tiles = views * grid.tiles
    counters = torch.zeros(tiles * COUNTER_STRIDE, dtype=torch.int32, device=device)
    launch(
        device, "project_splats", (blocks(n, 128), views, 1), 128,
        None, n, n, 0, scene.antialiased, scene.tiles_of_3dgs, scene.sh_count, *scene.cloud,
        scene.cam_from_world, scene.intrinsics, None, None, scene.width, scene.height, grid.tiles_x, grid.tiles_y,
        scene.screen_offsets, splats, *radii, counters,
        lists.flag,
    )  # fmt: skip
    launch(
        device, "allocate_tiles", (blocks(tiles, 256), 1, 1), 256,
        tiles, room, counters, lists.starts, lists.ends, lists.total, lists.flag,
    )  # fmt: skip
    return radii, splats, counters


def _sort(
    scene: Scene, splats: Tensor, radii: Radii, lists: Lists, counters: Tensor, spare: tuple[Tensor, Tensor]
) -> None:
    """Fills the lists; `spare` is two times room for 8 bytes an entry."""
    grid, (views, n), (keys, scratch) = Grid(scene.width, scene.height), radii[0].shape, spare
    limits = radii[1] if scene.tiles_of_3dgs else None
    launch(
        splats.device, "scatter_splats", (blocks(n, 128), views, 1), 128,
        None, n, n, grid.tiles_x, grid.tiles_y, keys.shape[0], splats, radii[0], limits, counters, keys,
        lists.flag,
    )  # fmt: skip
    launch(
        splats.device, "sort_tiles", (views * grid.tiles, 1, 1), 256,
        lists.starts, lists.ends, counters, keys, scratch, lists.entries, lists.flag,
    )  # fmt: skip


def _check_entries(count: int) -> None:
    if count > _MAX_ENTRIES:
        raise ValueError(f"scales: the splats cover {count} tiles in all, too many; draw fewer views at once")


def forward(scene: Scene) -> Forward:
    """Draws the Gaussians. Raises what `project_and_bin` does."""
    return with_room(scene, partial(blend, scene))


def blend(scene: Scene, radii: Radii, splats: Tensor, lists: Lists) -> Forward:
    views, n, _ = splats.shape
    grid = Grid(scene.width, scene.height)
    image, alpha, depth = (splats.new_empty(views, *c, scene.height, scene.width) for c in ((3,), (), ()))
    launch(
        splats.device, "blend_forward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, n, scene.width, scene.height, lists.starts, lists.ends, lists.entries, splats,
        scene.background, scene.inverse_depth, image, alpha, depth, lists.flag,
    )  # fmt: skip
    return Forward(image, alpha, depth, *radii, [splats, lists.head, lists.entries])


def backward(scene: Scene, state: list[Tensor], v: PictureGradient, wanted: Wanted = ALL) -> Gradients:
    """The gradients of a loss from those of the picture and what `forward` made: image, alpha, depth, radii, its
    state."""
    image, alpha, depth, radii, splats, *kept = state
    means, lists = scene.means, Lists.of(*kept)
    device, n, views = means.device, means.shape[0], scene.cam_from_world.shape[0]
    v_image = torch.zeros_like(image) if v.image is None else v.image.contiguous()
    sums = blend_gradient(scene, (image, alpha, depth), splats, lists, v._replace(image=v_image))
    v_cloud = [torch.empty_like(tensor) for tensor in scene.cloud]
    cameras = (scene.cam_from_world, scene.intrinsics)
    v_cameras = [torch.zeros_like(t) if wanted.cameras else means.new_empty(0, 3) for t in cameras]
    v_background = (v_image * (1 - alpha)[:, None]).sum((0, 2, 3)) if wanted.background else means.new_empty(0, 3)
    v_offsets = means.new_empty(views, n, 2)
    launch(
        device, "backward_splats", (blocks(n, 128), 1, 1), 128,
        n, views, scene.antialiased, scene.inverse_depth, scene.sh_count, *scene.cloud, *cameras,
        scene.width, scene.height, splats, radii, sums, *v_cloud, *v_cameras, v_offsets,
    )  # fmt: skip
    return Gradients(*v_cloud, *v_cameras, v_background, v_offsets)


def blend_gradient(
    scene: Scene, drawn: tuple[Tensor, Tensor, Tensor], splats: Tensor, lists: Lists, v: PictureGradient
) -> Tensor:
    """SplatSums (B, N, 12) of csrc/cuda/device.h, from what `blend` made (image, alpha, depth) and its gradient, whose
    image must be given."""
    grid, (views, n, _) = Grid(scene.width, scene.height), splats.shape
    v_alpha, v_depth = (part if part is None else part.contiguous() for part in v[1:])
    sums = splats.new_zeros(views, n, SPLAT_FLOATS)
    launch(
        splats.device, "blend_backward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, n, scene.width, scene.height, lists.starts, lists.ends, lists.entries, splats,
        scene.inverse_depth, *drawn, v.image, v_alpha, v_depth, sums, lists.flag,
    )  # fmt: skip
    return sums


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
