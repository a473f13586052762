"""What the kernels compute, in plain torch: their specification, and the fallback where no compiler was at hand.

Differentiable by autograd, in any floating type, on any device. It calls no kernel. Shapes: N Gaussians, B views.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diff_gaussian_rasterization.constants import (
    ALPHA_MAX,
    ALPHA_MIN,
    ANTIALIASING_MIN,
    COVARIANCE_DILATION,
    FIELD_MARGIN,
    NEAR_PLANE,
    QUAT_LENGTH_MIN,
    SH_OFFSET,
    SSIM_C1,
    SSIM_C2,
    SSIM_RADIUS,
    TRANSMITTANCE_MIN,
)
from diff_gaussian_rasterization.formulas import ssim_window
from diff_gaussian_rasterization.types import Rasterized, Scene

_BLOCK = 16  # pixels per side that are blended at once; splats that miss a block are left out of it


class Splats(NamedTuple):
    """The M Gaussians that one view draws, nearest first: indices (M,) into the cloud, and what blending needs."""

    indices: Tensor
    mean: Tensor  # (M, 2) px
    conic: Tensor  # (M, 3): a, b, c of power = -(a dx^2 + c dy^2) / 2 - b dx dy
    extent: Tensor  # (M, 2) px, half sizes of the box outside of which alpha < ALPHA_MIN
    opacity: Tensor  # (M,)
    value: Tensor  # (M, 4): color and camera z or its inverse, the quantities that are blended
    radius: Tensor  # (M,) px
    box: Tensor  # (M, 4) px: left, top, right, bottom, the last two exclusive, beyond which it is not drawn


def rasterize_reference(scene: Scene, block: int = _BLOCK) -> Rasterized:
    """As `diff_gaussian_rasterization.rasterize`. `block` is the side of the pixel blocks that are blended at once: it
    changes memory and time, never the result."""
    views, means = scene.cam_from_world.shape[0], scene.means
    pictures, radii = [], means.new_zeros((2, views, means.shape[0]), dtype=torch.int32)
    for view in range(views):
        splats, radii[1, view] = project(scene, view)
        pictures.append(blend(splats, scene.width, scene.height, scene.background, block))
        radii[0, view, splats.indices] = splats.radius.detach().to(torch.int32)
    picture = torch.stack(pictures) if pictures else means.new_zeros((0, 5, scene.height, scene.width))
    return Rasterized(picture[:, :3], picture[:, 3], picture[:, 4], *radii)


def rotations_of(quats: Tensor) -> Tensor:
    """Rotation matrices (N, 3, 3) of wxyz quaternions (N, 4) of any length."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True).clamp(min=QUAT_LENGTH_MIN)).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def sh_basis(count: int, directions: Tensor) -> Tensor:
    """The first `count` (1, 4, 9, 16) real spherical harmonics at unit directions (M, 3): (M, count), as in 3DGS."""
    x, y, z = directions.unbind(-1)
    pi = math.pi
    basis = [torch.full_like(x, math.sqrt(1 / (4 * pi)))]
    if count > 1:
        c = math.sqrt(3 / (4 * pi))
        basis += [-c * y, c * z, -c * x]
    if count > 4:
        c, c0 = math.sqrt(15 / (4 * pi)), math.sqrt(5 / (16 * pi))
        basis += [c * x * y, -c * y * z, c0 * (3 * z * z - 1), -c * x * z, c / 2 * (x * x - y * y)]
    if count > 9:
        c, c1 = math.sqrt(35 / (32 * pi)), math.sqrt(21 / (32 * pi))
        c0, c2 = math.sqrt(7 / (16 * pi)), math.sqrt(105 / (16 * pi))
        basis += [-c * y * (3 * x * x - y * y), 2 * c2 * x * y * z, -c1 * y * (5 * z * z - 1)]
        basis += [c0 * z * (5 * z * z - 3), -c1 * x * (5 * z * z - 1), c2 * z * (x * x - y * y)]
        basis += [-c * x * (x * x - 3 * y * y)]
    return torch.stack(basis, dim=-1)


def colors_seen(colors: Tensor, means: Tensor, cam_from_world: Tensor) -> Tensor:
    """(N, 3) from precomputed colors (N, 3) or spherical harmonics (N, K, 3) seen from the camera's center -R^T t."""
    if colors.ndim == 2:
        return colors
    view = means + cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
    basis = sh_basis(colors.shape[1], view / view.norm(dim=-1, keepdim=True))
    return torch.relu(SH_OFFSET + (basis[..., None] * colors).sum(1))


def project(scene: Scene, view: int) -> tuple[Splats, Tensor]:
    """The splats of one view, sorted by camera z, ties by index, and radii_of_3dgs (N,). Source: EWA splatting with the
    conventions of 3DGS."""
    means, size = scene.means, scene.means.new_tensor((scene.width, scene.height))
    rotation, translation = scene.cam_from_world[view, :3, :3], scene.cam_from_world[view, :3, 3]
    centers = means @ rotation.T + translation
    index = torch.nonzero(centers[:, 2] > NEAR_PLANE)[:, 0]
    index = index[torch.sort(centers[index, 2].detach(), stable=True).indices]
    x, y, z = centers[index].unbind(-1)
    fx, fy, cx, cy = scene.intrinsics[view].unbind(-1)
    mean = torch.stack((fx * x / z + cx, fy * y / z + cy), dim=-1)
    if scene.screen_offsets is not None:
        mean = mean + scene.screen_offsets[view, index]

    (xx, xy, yy), bare = _spread(scene, view, index, centers[index])
    determinant = bare + COVARIANCE_DILATION * (xx + yy) + COVARIANCE_DILATION**2
    opacity = scene.opacities[index]
    if scene.antialiased:
        opacity = opacity * (bare / determinant).clamp_min(ANTIALIASING_MIN).sqrt()
    xx, yy = xx + COVARIANCE_DILATION, yy + COVARIANCE_DILATION
    conic = torch.stack((yy, -xy, xx), dim=-1) / determinant[:, None]

    level = 2 * torch.log(opacity.detach() / ALPHA_MIN)  # alpha >= ALPHA_MIN where -2 power <= level
    extent = torch.sqrt(torch.stack((xx, yy), dim=-1).detach() * level[:, None])
    largest = 0.5 * (xx + yy) + torch.sqrt((0.5 * (xx - yy)) ** 2 + xy**2).detach()
    radius = torch.ceil(torch.sqrt(largest.detach() * level))
    color = colors_seen(scene.colors, means, scene.cam_from_world[view])[index]
    value = torch.cat((color, (1 / z if scene.inverse_depth else z)[:, None]), dim=-1)
    inside = ((mean + extent > 0) & (mean - extent < size)).all(-1) & torch.isfinite(radius) & (level > 0)
    radii_of_3dgs = means.new_zeros(means.shape[0], dtype=torch.int32)
    radii_of_3dgs[index] = _radii_of_3dgs(0.5 * (xx + yy), determinant, mean, size)
    box = torch.cat((torch.zeros_like(mean), size.expand_as(mean)), dim=1)
    if scene.tiles_of_3dgs:
        box, inside = _box_of_3dgs(mean.detach(), radii_of_3dgs[index]), inside & (radii_of_3dgs[index] > 0)
    splats = Splats(index, mean, conic, extent, opacity, value, radius, box)
    return Splats(*(field[inside] for field in splats)), radii_of_3dgs


def _spread(scene: Scene, view: int, index: Tensor, centers: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The covariance entries xx, xy, yy (M,) px^2 in the picture of the Gaussians `index`, not dilated, and the
    determinant; centers (M, 3) in the camera."""
    (x, y, z), (fx, fy, cx, cy) = centers.unbind(-1), scene.intrinsics[view].unbind(-1)
    margin_x, margin_y = FIELD_MARGIN * 0.5 * scene.width, FIELD_MARGIN * 0.5 * scene.height
    u = torch.clamp(x / z, -(cx + margin_x) / fx, (scene.width - cx + margin_x) / fx)
    v = torch.clamp(y / z, -(cy + margin_y) / fy, (scene.height - cy + margin_y) / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack((fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z), dim=-1).unflatten(-1, (2, 3))
    rows = jacobian @ scene.cam_from_world[view, :3, :3]
    if scene.by_covariance:
        covariance = rows @ scene.scales[index][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].unflatten(-1, (3, 3)) @ rows.mT
    else:
        factor = rows @ rotations_of(scene.quats[index]) * scene.scales[index][:, None, :]
        covariance = factor @ factor.mT
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    return (xx, xy, yy), (xx * yy - xy * xy).clamp_min(0)


def _radii_of_3dgs(middle: Tensor, determinant: Tensor, mean: Tensor, size: Tensor) -> Tensor:
    """As `screen_radius` of csrc/common/spread.h, from half the trace (M,) and the determinant (M,) of the dilated
    covariance and the projected means (M, 2)."""
    radius = torch.ceil(3 * torch.sqrt(middle + torch.sqrt((middle**2 - determinant).clamp_min(0.1)))).detach()
    low, high = mean.detach() - 0.5 - radius[:, None], mean.detach() - 0.5 + radius[:, None]
    met = ((high >= 1) & (low < 16 * torch.ceil(size / 16))).all(-1)
    return torch.where(met & (radius < 1e9), radius, 0).to(torch.int32)


def _box_of_3dgs(mean: Tensor, radius: Tensor) -> Tensor:
    """(M, 4): the tiles of 16x16 px that a square around `mean` meets, as `Splats.box`."""
    low, high = mean - 0.5 - radius[:, None], mean - 0.5 + radius[:, None] + 15
    return 16 * torch.floor(torch.cat((low.clamp_min(0), high), dim=1) / 16)


def blend(splats: Splats, width: int, height: int, background: Tensor, block: int) -> Tensor:
    """Front-to-back blending of one view: (5, H, W) = color over the background, alpha, depth."""
    rows = []
    for top in range(0, height, block):
        bottom = min(top + block, height)
        row = [
            _blend_block(splats, left, top, min(left + block, width), bottom, background)
            for left in range(0, width, block)
        ]
        rows.append(torch.cat(row, dim=2))
    return torch.cat(rows, dim=1)


def _blend_block(splats: Splats, left: int, top: int, right: int, bottom: int, background: Tensor) -> Tensor:
    low, high = splats.mean.new_tensor((left, top)), splats.mean.new_tensor((right, bottom))
    touched = ((splats.mean + splats.extent >= low) & (splats.mean - splats.extent <= high)).all(-1)
    x = torch.arange(left, right, dtype=low.dtype, device=low.device) + 0.5
    y = torch.arange(top, bottom, dtype=low.dtype, device=low.device) + 0.5
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    dx = xs - splats.mean[touched, 0, None, None]
    dy = ys - splats.mean[touched, 1, None, None]
    a, b, c = (entry[:, None, None] for entry in splats.conic[touched].unbind(-1))
    power = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alpha = torch.clamp(splats.opacity[touched, None, None] * torch.exp(power), max=ALPHA_MAX)
    alpha = torch.where(alpha < ALPHA_MIN, torch.zeros_like(alpha), alpha)
    left_, top_, right_, bottom_ = (side[:, None, None] for side in splats.box[touched].unbind(-1))
    drawn = (xs > left_) & (xs < right_) & (ys > top_) & (ys < bottom_)
    alpha = torch.where(drawn, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=0)
    # `after` only falls, so the splat that brings it under the limit and all behind it are left out.
    alpha = torch.where(after < TRANSMITTANCE_MIN, torch.zeros_like(alpha), alpha)
    after = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat((torch.ones_like(xs)[None], after))
    end = before[-1]
    blended = torch.einsum("mhw,mc->chw", alpha * before[:-1], splats.value[touched])
    return torch.cat((blended[:3] + end * background[:, None, None], 1 - end[None], blended[3:]))


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """SSIM of every pixel and channel (B, 3, H, W) of two pictures in [0, 1], zeros beyond the border as in 3DGS."""
    channels = image.shape[1]
    window = ssim_window(image.dtype, image.device)
    across = window.expand(channels, 1, 1, -1)

    def local_mean(x: Tensor) -> Tensor:
        x = torch.nn.functional.conv2d(x, across, padding=(0, SSIM_RADIUS), groups=channels)
        return torch.nn.functional.conv2d(x, across.mT, padding=(SSIM_RADIUS, 0), groups=channels)

    mean_x, mean_y = local_mean(image), local_mean(target)
    var_x = local_mean(image * image) - mean_x * mean_x
    var_y = local_mean(target * target) - mean_y * mean_y
    covariance = local_mean(image * target) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x * mean_x + mean_y * mean_y + SSIM_C1)
    return luminance * (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)


def target_as_image(target: Tensor, dtype: torch.dtype) -> Tensor:
    """A target as (B, 3, H, W): uint8 (B, H, W, 3) is divided by 255, floating (B, 3, H, W) is taken as it is."""
    if target.dtype == torch.uint8:
        return target.permute(0, 3, 1, 2).to(dtype) / 255
    return target.to(dtype)


def photometric_loss_reference(image: Tensor, target: Tensor, ssim_weight: float = 0.2) -> Tensor:
    """As `diff_gaussian_rasterization.photometric_loss`."""
    expected = target_as_image(target, image.dtype)
    distance = (image - expected).abs().mean()
    return (1 - ssim_weight) * distance + ssim_weight * (1 - ssim_map(image, expected).mean())
