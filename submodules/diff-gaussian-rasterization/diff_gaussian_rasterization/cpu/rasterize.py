"""The kernels on the CPU: tensors in, tensors out. `library` makes autograd operations of these functions."""

import ctypes

import torch
from torch import Tensor

from diff_gaussian_rasterization.cpu.loader import call
from diff_gaussian_rasterization.types import ALL, Forward, Gradients, PictureGradient, Scene, Wanted

TILE = 8  # px; TILE of csrc/cpu/scene.h
_SPLAT = 16  # scalars of a Splat
_SPLAT_GRADIENT = 10  # scalars of a SplatGradient
_MOST_ENTRIES = 2**31 - 1  # entries are numbered in 32 bits


class Splats:
    """One buffer for all splats of a batch: the splats (B, N, 16), then the running count of the tiles they touch."""

    def __init__(self, views: int, count: int, dtype: torch.dtype, buffer: Tensor | None = None) -> None:
        size = views * count * _SPLAT * dtype.itemsize
        self.buffer = torch.empty(size + 8 * (views * count + 1), dtype=torch.uint8) if buffer is None else buffer
        self.splats = self.buffer[:size]
        self.slot_begin = self.buffer[size:]


class Lists:
    """One buffer for the lists of all tiles: where each begins, the entries, and how many entries reach a pixel."""

    def __init__(self, tiles: int, entries: int, buffer: Tensor | None = None) -> None:
        size = 8 * (tiles + 1 + entries)
        self.buffer = torch.empty(size + 4 * tiles, dtype=torch.uint8) if buffer is None else buffer
        self.tile_begin = self.buffer[: 8 * (tiles + 1)]
        self.entries = self.buffer[8 * (tiles + 1) :]
        self.used = self.buffer[size:]

    @staticmethod
    def entry_count(tiles: int, buffer: Tensor) -> int:
        return (buffer.numel() - 4 * tiles) // 8 - (tiles + 1)


class Pixels:
    """One buffer for what every pixel keeps, tile by tile: its end transmittance, and the entry that stops it."""

    def __init__(self, tiles: int, dtype: torch.dtype, buffer: Tensor | None = None) -> None:
        size = tiles * TILE * TILE * dtype.itemsize
        self.buffer = torch.empty(size + 4 * tiles * TILE * TILE, dtype=torch.uint8) if buffer is None else buffer
        self.transmittance = self.buffer[:size]
        self.stop = self.buffer[size:]


def tile_count(scene: Scene) -> int:
    """Tiles of all views together."""
    return scene.cam_from_world.shape[0] * -(-scene.width // TILE) * -(-scene.height // TILE)


def project_and_bin(scene: Scene) -> tuple[tuple[Tensor, ...], Splats, Lists]:
    """Both kinds of radii (B, N), the splats, and the tiles' lists, nearest splat first. Raises ValueError beyond 2^31
    entries."""
    views, count, dtype = scene.cam_from_world.shape[0], scene.means.shape[0], scene.means.dtype
    splats = Splats(views, count, dtype)
    radii = tuple(torch.empty((views, count), dtype=torch.int32) for _ in range(2))
    entries = call(
        "gs_project",
        dtype,
        *(count, *scene.cloud, scene.sh_count, views, scene.cam_from_world, scene.intrinsics, scene.screen_offsets),
        *(scene.width, scene.height, scene.antialiased, scene.inverse_depth, scene.tiles_of_3dgs),
        *(splats.splats, *radii, splats.slot_begin),
        result=ctypes.c_int64,
    )
    if entries > _MOST_ENTRIES:
        raise ValueError(
            f"scales: the splats touch {entries} tiles, more than 2^31; draw fewer than {views} views at once"
        )
    lists = Lists(tile_count(scene), entries)
    size = (count, views, scene.width, scene.height)
    call("gs_bin", dtype, *size, splats.splats, splats.slot_begin, lists.tile_begin, lists.entries)
    return radii, splats, lists


def forward(scene: Scene) -> Forward:
    """Draws the Gaussians."""
    views, count, like = scene.cam_from_world.shape[0], scene.means.shape[0], scene.means
    radii, splats, lists = project_and_bin(scene)
    pixels = Pixels(tile_count(scene), like.dtype)
    image = like.new_empty((views, 3, scene.height, scene.width))
    alpha, depth = torch.empty_like(image[:, 0]), torch.empty_like(image[:, 0])
    call(
        "gs_blend",
        like.dtype,
        *(count, views, scene.width, scene.height, splats.splats, lists.tile_begin, lists.entries, scene.background),
        *(image, alpha, depth, pixels.transmittance, pixels.stop, lists.used),
    )
    return Forward(image, alpha, depth, *radii, [splats.buffer, lists.buffer, pixels.buffer])


def backward(scene: Scene, state: list[Tensor], v: PictureGradient, wanted: Wanted = ALL) -> Gradients:
    """The gradients of a loss from those of the picture and the state of `forward`."""
    views, count, like = scene.cam_from_world.shape[0], scene.means.shape[0], scene.means
    tiles = tile_count(scene)
    entries = Lists.entry_count(tiles, state[1])
    splats = Splats(views, count, like.dtype, state[0])
    lists, pixels = Lists(tiles, entries, state[1]), Pixels(tiles, like.dtype, state[2])
    slots, v_background = like.new_empty((entries, _SPLAT_GRADIENT)), like.new_empty((tiles, 3))
    call(
        "gs_blend_backward",
        like.dtype,
        *(count, views, scene.width, scene.height, splats.splats, lists.tile_begin, lists.entries, scene.background),
        *(pixels.transmittance, pixels.stop, lists.used),
        *(part if part is None else part.contiguous() for part in v),
        *(slots, v_background),
    )
    out = Gradients(
        means=torch.zeros_like(scene.means),
        scales=torch.zeros_like(scene.scales),
        quats=torch.zeros_like(scene.quats),
        opacities=torch.zeros_like(scene.opacities),
        colors=torch.zeros_like(scene.colors),
        cam_from_world=torch.zeros_like(scene.cam_from_world),
        intrinsics=torch.zeros_like(scene.intrinsics),
        background=v_background.sum(0) if wanted.background else like.new_empty(0, 3),
        screen_offsets=like.new_zeros((views, count, 2)),
    )
    call(
        "gs_project_backward",
        like.dtype,
        *(count, *scene.cloud, scene.sh_count, views, scene.cam_from_world, scene.intrinsics, scene.screen_offsets),
        *(scene.width, scene.height, scene.antialiased, scene.inverse_depth, splats.splats, splats.slot_begin, slots),
        *(out.means, out.scales, out.quats, out.opacities, out.colors, out.cam_from_world, out.intrinsics),
        out.screen_offsets,
    )
    return out if wanted.cameras else out._replace(cam_from_world=like.new_empty(0, 3), intrinsics=like.new_empty(0, 3))


def photometric_loss(image: Tensor, target: Tensor, ssim_weight: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """(the loss, a scalar; its gradient in `image`, empty unless asked for), of `ops.photometric_loss`."""
    views, _, height, width = image.shape
    v_image = torch.empty_like(image) if with_gradient else image.new_empty(0)
    as_bytes = target.dtype == torch.uint8
    value = call(
        "gs_photometric_loss",
        image.dtype,
        *(views, height, width, image, target if as_bytes else None, None if as_bytes else target),
        *(float(ssim_weight), v_image if with_gradient else None),
        result=ctypes.c_double,
    )
    return image.new_tensor(value), v_image
