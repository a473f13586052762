"""The rasterizer and the loss on a GPU: tensors in, tensors out. `ops` makes autograd operations of these functions.

Everything runs on torch's current stream of the tensors' device. Shapes as in `rasterize`; all float32 and contiguous.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from diff_gaussian_rasterization.cuda_launch import blocks, launch
from diff_gaussian_rasterization.reference import SSIM_RADIUS, ssim_window

TILE = 16  # px; csrc/cuda/device.h holds the same sizes
SPLAT_FLOATS = 12
PARTS = 8
BLEND_WARPS = 4
MAX_SPLATS = 1 << (32 - PARTS)
_MAX_ENTRIES = 2**31 - 1

LOSS_SIDE = 32  # px; csrc/cuda/loss.cu
LOSS_THREADS = 384
_WIDE, _MID = LOSS_SIDE + 4 * SSIM_RADIUS, LOSS_SIDE + 2 * SSIM_RADIUS
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


class Forward(NamedTuple):
    """Pictures, and what the backward pass needs: splats (B, N, 12), remaining (B, H, W) = transmittance at the end,
    the tile lists `entries` (E,) with starts and ends (B * tiles,), and the overflow flag, which is zero."""

    image: Tensor
    remaining: Tensor
    depth: Tensor
    radii: Tensor
    splats: Tensor
    starts: Tensor
    ends: Tensor
    entries: Tensor
    flag: Tensor


def _coefficients(colors: Tensor) -> int:
    return 0 if colors.ndim == 2 else colors.shape[1]


def rasterize_forward(
    means: Tensor,
    scales: Tensor,
    quats: Tensor,
    opacities: Tensor,
    colors: Tensor,
    cam_from_world: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    background: Tensor,
    screen_offsets: Tensor | None,
) -> Forward:
    """Draws the Gaussians from every camera. Waits for the GPU once, to learn how long the tile lists are.

    Raises ValueError for more Gaussians, or a batch with more tile entries, than the lists can number."""
    device, n, views, grid = means.device, means.shape[0], cam_from_world.shape[0], Grid(width, height)
    if n >= MAX_SPLATS:
        raise ValueError(f"the GPU rasterizer draws fewer than {MAX_SPLATS} Gaussians, got {n}")
    ints = torch.zeros(2 * views * grid.tiles + 4, dtype=torch.int32, device=device)
    counts, ends, flag = ints[4 : 4 + views * grid.tiles], ints[4 + views * grid.tiles :], ints[2:3]
    starts = torch.empty(views * grid.tiles, dtype=torch.int32, device=device)
    total = ints[:2].view(torch.int64)
    splats = torch.empty(views, n, SPLAT_FLOATS, device=device)
    radii = torch.empty(views, n, dtype=torch.int32, device=device)
    cloud = (means, scales, quats, opacities, colors)
    launch(
        device, "project_splats", (blocks(n, 128), views, 1), 128,
        None, n, n, 0, _coefficients(colors), *cloud, cam_from_world, intrinsics, None, None,
        width, height, grid.tiles_x, grid.tiles_y, screen_offsets, splats, radii, counts, flag,
    )  # fmt: skip
    launch(
        device, "allocate_tiles", (blocks(views * grid.tiles, 256), 1, 1), 256,
        views * grid.tiles, _MAX_ENTRIES, counts, starts, ends, total, flag,
    )  # fmt: skip
    entry_count = int(total.item())
    if entry_count > _MAX_ENTRIES:
        raise ValueError(f"{entry_count} tile entries are too many for one call: draw fewer than {views} views at once")
    keys = torch.empty(entry_count, dtype=torch.int64, device=device)
    entries = torch.empty(entry_count, dtype=torch.int32, device=device)
    if entry_count:
        launch(
            device, "scatter_splats", (blocks(n, 128), views, 1), 128,
            None, n, n, grid.tiles_x, grid.tiles_y, entry_count, splats, radii, ends, keys, flag,
        )  # fmt: skip
        launch(device, "sort_tiles", (views * grid.tiles, 1, 1), 256, starts, ends, keys, entries, flag)
    image = torch.empty(views, 3, height, width, device=device)
    remaining = torch.empty(views, height, width, device=device)
    depth = torch.empty(views, height, width, device=device)
    launch(
        device, "blend_forward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
        grid.tiles_x, grid.tiles, n, width, height, starts, ends, entries, splats, background,
        image, remaining, depth, flag,
    )  # fmt: skip
    return Forward(image, remaining, depth, radii, splats, starts, ends, entries, flag)


class Gradients(NamedTuple):
    """The gradient of every tensor that `rasterize` takes, under its name."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor
    cam_from_world: Tensor
    intrinsics: Tensor
    background: Tensor
    screen_offsets: Tensor


def rasterize_backward(
    means: Tensor,
    scales: Tensor,
    quats: Tensor,
    colors: Tensor,
    cam_from_world: Tensor,
    intrinsics: Tensor,
    forward: Forward,
    v_image: Tensor,
    v_alpha: Tensor,
    v_depth: Tensor,
) -> Gradients:
    """The gradients of a loss from those of image (B, 3, H, W), alpha and depth (B, H, W)."""
    device, n, views = means.device, means.shape[0], cam_from_world.shape[0]
    height, width = forward.image.shape[-2:]
    grid = Grid(width, height)
    v_image, v_depth, v_remaining = v_image.contiguous(), v_depth.contiguous(), (-v_alpha).contiguous()
    sums = torch.zeros(views, n, SPLAT_FLOATS, device=device)
    if forward.entries.numel():
        launch(
            device, "blend_backward", (grid.blend_blocks, views, 1), 32 * BLEND_WARPS,
            grid.tiles_x, grid.tiles, n, width, height, forward.starts, forward.ends, forward.entries, forward.splats,
            forward.image, forward.remaining, forward.depth, v_image, v_remaining, v_depth, sums, forward.flag,
        )  # fmt: skip
    out = Gradients(
        means=torch.zeros_like(means),
        scales=torch.zeros_like(scales),
        quats=torch.zeros_like(quats),
        opacities=means.new_zeros(n),
        colors=torch.zeros_like(colors),
        cam_from_world=torch.zeros_like(cam_from_world),
        intrinsics=torch.zeros_like(intrinsics),
        background=(v_image * forward.remaining[:, None]).sum((0, 2, 3)),
        screen_offsets=means.new_zeros(views, n, 2),
    )
    launch(
        device, "backward_splats", (blocks(n, 128), views, 1), 128,
        n, _coefficients(colors), means, scales, quats, colors, cam_from_world, intrinsics, width, height,
        forward.splats, forward.radii, sums, out.means, out.scales, out.quats, out.opacities, out.colors,
        out.cam_from_world, out.intrinsics, out.screen_offsets,
    )  # fmt: skip
    return out


def photometric_loss_and_gradient(image: Tensor, target: Tensor, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """(loss, a scalar; its gradient in `image`), of `photometric_loss`."""
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
