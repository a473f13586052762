"""The face that other 3D Gaussian splatting code knows: GaussianRasterizationSettings and GaussianRasterizer.

Two versions of the original are in use. Code for the older one leaves `antialiasing` out and unpacks (color, radii);
code for the newer one sets it and unpacks (color, radii, inverse depth), the last the sum of blending weight over
camera z. Each gets what it expects; either way the result also carries `.alpha` and `.depth`, the sum of weight times
z. The inverse depth takes a second drawing: leave `antialiasing` out where nothing reads it.
"""

from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diff_gaussian_rasterization.checks import expect
from diff_gaussian_rasterization.constants import NEAR_PLANE
from diff_gaussian_rasterization.ops import rasterize
from diff_gaussian_rasterization.types import Scene


class GaussianRasterizationSettings(NamedTuple):
    """One view. The matrices act on row vectors: viewmatrix is the transpose of cam_from_world, projmatrix that of
    the projection times cam_from_world; either may have another floating type than the means. campos, prefiltered and
    debug are accepted and not needed."""

    image_height: int
    image_width: int
    tanfovx: float
    tanfovy: float
    bg: Tensor
    scale_modifier: float
    viewmatrix: Tensor
    projmatrix: Tensor
    sh_degree: int
    campos: Tensor
    prefiltered: bool
    debug: bool
    antialiasing: bool | None = None


class Outputs(tuple[Tensor, ...]):
    """color (3, H, W), radii (N,) and, for newer code, inverse depth (1, H, W); also alpha, depth (1, H, W)."""

    alpha: Tensor
    depth: Tensor


class GaussianRasterizer(torch.nn.Module):
    """Draws Gaussians from the view of its settings; differentiable in them and in viewmatrix."""

    def __init__(self, raster_settings: GaussianRasterizationSettings) -> None:
        super().__init__()
        self.raster_settings = raster_settings

    def markVisible(self, positions: Tensor) -> Tensor:
        """Which of the positions (N, 3) lie beyond the near plane: (N,) bool."""
        view = self.raster_settings.viewmatrix.to(positions.dtype)
        with torch.no_grad(), _full_precision(positions):
            return positions @ view[:3, 2] + view[3, 2] > NEAR_PLANE

    def forward(
        self,
        means3D: Tensor,
        means2D: Tensor | None,
        opacities: Tensor,
        shs: Tensor | None = None,
        colors_precomp: Tensor | None = None,
        scales: Tensor | None = None,
        rotations: Tensor | None = None,
        cov3D_precomp: Tensor | None = None,
    ) -> Outputs:
        """means3D (N, 3), means2D (N, 2 or more) whose gradient becomes that of the projected means in units of half
        the picture's size (its values are not read), opacities (N, 1), scales (N, 3), rotations wxyz (N, 4), and either
        shs (N, K, 3) or colors_precomp (N, 3). Raises ValueError for anything else, cov3D_precomp included."""
        settings = _in_precision_of(means3D, self.raster_settings)
        if settings.antialiasing:
            raise ValueError("antialiasing: expected False, this rasterizer has no antialiased opacities")
        if cov3D_precomp is not None or scales is None or rotations is None:
            raise ValueError("cov3D_precomp: expected None, with scales and rotations given")
        colors = colors_precomp if shs is None else shs[:, : (settings.sh_degree + 1) ** 2]
        if colors is None or (shs is not None and colors_precomp is not None):
            raise ValueError("shs, colors_precomp: expected exactly one of the two")
        expect("opacities", opacities, (means3D.shape[0], 1), means3D)
        with _full_precision(means3D):
            scene = Scene(
                means3D,
                scales * settings.scale_modifier,
                rotations,
                opacities[:, 0],
                colors,
                settings.viewmatrix.T[None],
                _intrinsics(settings)[None].to(means3D),
                settings.image_width,
                settings.image_height,
                settings.bg,
                _screen_offsets(means2D, settings),
            )
            out = rasterize(scene)
            newer = () if settings.antialiasing is None else (_inverse_depth(scene),)
        outputs = Outputs((out.image[0], out.radii[0], *newer))
        outputs.alpha, outputs.depth = out.alpha, out.depth
        return outputs


def _full_precision(like: Tensor) -> torch.autocast:
    """No autocast, which the caller may train under: products with a matrix would lose most of a picture's digits."""
    return torch.autocast(like.device.type, enabled=False)


def _in_precision_of(means: Tensor, settings: GaussianRasterizationSettings) -> GaussianRasterizationSettings:
    """The settings with tensors in the type of the means, and sizes as integers of Python."""
    changes: dict[str, Any] = {
        name: getattr(settings, name).to(means.dtype) for name in ("viewmatrix", "projmatrix", "bg")
    }
    for name in ("image_width", "image_height"):
        if isinstance(size := getattr(settings, name), Integral) and not isinstance(size, bool):
            changes[name] = int(size)
    return settings._replace(**changes)


def _inverse_depth(scene: Scene) -> Tensor:
    """The sum of blending weight over camera z (1, H, W): 1/z as a color over black, in a drawing of its own."""
    pose = scene.cam_from_world[0]
    inverse = (scene.means @ pose[2, :3] + pose[2, 3]).clamp_min(NEAR_PLANE).reciprocal()
    black = torch.zeros_like(scene.background)
    return rasterize(scene._replace(colors=inverse[:, None].expand(-1, 3), background=black)).image[0, :1]


def _intrinsics(settings: GaussianRasterizationSettings) -> Tensor:
    """fx, fy, cx, cy in pixels. The principal point stands in projmatrix: the share of z in its x and y."""
    half = torch.tensor((settings.image_width / 2, settings.image_height / 2), device=settings.projmatrix.device)
    off_axis = settings.viewmatrix[:3, 2].detach() @ settings.projmatrix[:3, :2].detach()
    tangents = torch.tensor((settings.tanfovx, settings.tanfovy), device=half.device)
    return torch.cat((half / tangents, half * (1 + off_axis)))


def _screen_offsets(means2D: Tensor | None, settings: GaussianRasterizationSettings) -> Tensor | None:
    if means2D is None or not means2D.requires_grad:
        return None
    half = means2D.new_tensor((settings.image_width / 2, settings.image_height / 2))
    return ((means2D - means2D.detach())[:, :2] * half)[None]
