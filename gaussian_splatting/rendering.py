"""Pictures of Gaussians: the one place where the model meets the rasterizer."""

from dataclasses import dataclass

import diff_gaussian_rasterization as rasterizer
import torch
from diff_gaussian_rasterization import Scene, rasterize
from jaxtyping import Float, Int
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.gaussians import Gaussians

WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Rendering:
    """A batch of pictures, background composited: image about [0, 1] but not clamped, alpha in [0, 1], depth = sum of
    blending weight times camera z (world units; divide by alpha for a surface), radii in pixels (0: not drawn)."""

    image: Float[Tensor, "b 3 h w"]
    alpha: Float[Tensor, "b h w"]
    depth: Float[Tensor, "b h w"]
    radii: Int[Tensor, "b n"]


def render(gaussians: Gaussians, cameras: list[Camera], background: tuple[float, float, float] = WHITE) -> Rendering:
    """Renders `gaussians` from every camera (all of one size) on the device that holds the Gaussians."""
    device, dtype = gaussians.means.device, gaussians.means.dtype
    cam_from_world, intrinsics = stack_cameras(cameras, device, dtype)
    return render_poses(gaussians, cam_from_world, intrinsics, cameras[0].width, cameras[0].height, background)


def render_poses(
    gaussians: Gaussians,
    cam_from_world: Float[Tensor, "b 4 4"],
    intrinsics: Float[Tensor, "b 4"],
    width: int,
    height: int,
    background: tuple[float, float, float] = WHITE,
) -> Rendering:
    """As `render`, from tensors: differentiable in the Gaussians and in `cam_from_world`."""
    scene = Scene(
        gaussians.means,
        gaussians.scales,
        gaussians.quats,
        gaussians.opacities,
        gaussians.sh,
        cam_from_world,
        intrinsics,
        width,
        height,
        torch.tensor(background, dtype=gaussians.means.dtype, device=gaussians.means.device),
    )
    out = rasterize(scene)
    return Rendering(out.image, out.alpha, out.depth, out.radii)


def render_features(
    gaussians: Gaussians, features: Float[Tensor, "b n c"], cameras: list[Camera]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
    """Any numbers of each Gaussian, for every camera its own, drawn as colors are, over 0; and alpha."""
    return rasterizer.rasterize_features(_without_colors(gaussians, cameras), features)


def lift_features(
    gaussians: Gaussians, pictures: Float[Tensor, "b c h w"], cameras: list[Camera]
) -> Float[Tensor, "b n c"]:
    """Pictures brought back onto the model: per camera and Gaussian the sum over pixels of blending weight times
    picture."""
    return rasterizer.lift_features(_without_colors(gaussians, cameras), pictures)


def _without_colors(gaussians: Gaussians, cameras: list[Camera]) -> Scene:
    g = gaussians.detached()
    views = stack_cameras(cameras, g.means.device, g.means.dtype)
    size, nothing = (cameras[0].width, cameras[0].height), g.means.new_zeros(3)
    return Scene(g.means, g.scales, g.quats, g.opacities, g.means, *views, *size, nothing)
