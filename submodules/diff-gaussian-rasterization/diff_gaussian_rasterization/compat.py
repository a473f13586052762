"""The face that other 3D Gaussian splatting code knows: GaussianRasterizationSettings and GaussianRasterizer.

Two versions of the original are in use. Code for the older one leaves `antialiasing` out and unpacks (color, radii);
code for the newer one sets it and unpacks (color, radii, inverse depth). The README of this package has a table of all
arguments. No call but the first from a camera waits for the GPU's queue to run dry.
"""

from contextlib import AbstractContextManager, nullcontext
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from diff_gaussian_rasterization.checks import expect
from diff_gaussian_rasterization.constants import NEAR_PLANE
from diff_gaussian_rasterization.ops import rasterize
from diff_gaussian_rasterization.types import Scene


class GaussianRasterizationSettings(NamedTuple):
    """One view. The matrices act on row vectors: viewmatrix is the transpose of cam_from_world, projmatrix that of
    the projection times cam_from_world; they and bg may have another floating type than the means. scale_modifier
    multiplies the scales. debug waits for the GPU, so that a fault shows here. campos and prefiltered are accepted and
    not read: the camera's center follows from viewmatrix."""

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
    """color (3, H, W), radii (N,) int32 and, for newer code, inverse depth (1, H, W), the sum of blending weight over
    camera z; also alpha (1, H, W), and depth (1, H, W): that third value, for older code the sum of weight times z."""

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
        the picture's size (its values are not read), opacities (N, 1), either shs (N, K, 3) or colors_precomp (N, 3),
        and either scales (N, 3) and rotations wxyz (N, 4), or cov3D_precomp (N, 6): the entries xx, xy, xz, yy, yz, zz
        of the covariances, on which scale_modifier has no effect. Raises ValueError for anything else."""
        settings = _in_precision_of(means3D, self.raster_settings)
        expect("opacities", opacities, (means3D.shape[0], 1), means3D)
        with _full_precision(means3D):
            scene = Scene(
                means3D,
                *_shapes(scales, rotations, cov3D_precomp, settings.scale_modifier),
                opacities[:, 0],
                _colors(shs, colors_precomp, settings.sh_degree),
                settings.viewmatrix.T[None],
                _intrinsics(self.raster_settings, means3D),
                settings.image_width,
                settings.image_height,
                settings.bg,
                _screen_offsets(means2D, settings),
                antialiased=bool(settings.antialiasing),
                inverse_depth=settings.antialiasing is not None,
                tiles_of_3dgs=True,
            )
            out = rasterize(scene)
        if settings.debug and means3D.is_cuda:
            torch.cuda.synchronize(means3D.device)
        newer = () if settings.antialiasing is None else (out.depth,)
        outputs = Outputs((out.image[0], out.radii_of_3dgs[0], *newer))
        outputs.alpha, outputs.depth = out.alpha, out.depth
        return outputs


def _full_precision(like: Tensor) -> AbstractContextManager[None]:
    """No autocast, which the caller may train under: products with a matrix would lose most of a picture's digits."""
    if torch.is_autocast_enabled(like.device.type):
        return torch.autocast(like.device.type, enabled=False)
    return nullcontext()


def _in_precision_of(means: Tensor, settings: GaussianRasterizationSettings) -> GaussianRasterizationSettings:
    """The settings with tensors in the type of the means, and sizes as integers of Python."""
    changes: dict[str, Any] = {name: getattr(settings, name).to(means.dtype) for name in ("viewmatrix", "bg")}
    for name in ("image_width", "image_height"):
        if isinstance(size := getattr(settings, name), Integral) and not isinstance(size, bool):
            changes[name] = int(size)
    return settings._replace(**changes)


def _shapes(
    scales: Tensor | None, rotations: Tensor | None, covariances: Tensor | None, modifier: float
) -> tuple[Tensor, Tensor]:
    """What stands in a Scene as scales and quats."""
    if covariances is not None and scales is None and rotations is None:
        if covariances.ndim != 2 or covariances.shape[1] != 6:
            raise ValueError(f"cov3D_precomp: expected shape (N, 6), got {tuple(covariances.shape)}")
        return covariances, covariances[:, :0].detach()
    if scales is None or rotations is None or covariances is not None:
        raise ValueError("scales, rotations, cov3D_precomp: expected both scales and rotations, or cov3D_precomp alone")
    return (scales if modifier == 1 else scales * modifier), rotations


def _colors(shs: Tensor | None, colors: Tensor | None, degree: int) -> Tensor:
    """The given colors, or the harmonics up to `degree`, the active one."""
    if (shs is None) == (colors is None):
        raise ValueError("shs, colors_precomp: expected exactly one of the two")
    if shs is None:
        assert colors is not None
        return colors
    used = (degree + 1) ** 2
    return shs if shs.shape[1] == used else shs[:, :used]


class _Camera(NamedTuple):
    """What the intrinsics of a projmatrix were computed from, and they."""

    made_from: tuple[object, ...]
    intrinsics: Tensor


_cameras: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # projmatrix: _Camera


def _intrinsics(settings: GaussianRasterizationSettings, means: Tensor) -> Tensor:
    """(1, 4): fx, fy, cx, cy in pixels. Kept per projmatrix, since a loop comes back to its cameras and each time
    would cost ten launches."""
    view, projection, width, height = (
        settings.viewmatrix,
        settings.projmatrix,
        settings.image_width,
        settings.image_height,
    )
    focal = width / 2 / float(settings.tanfovx), height / 2 / float(settings.tanfovy)
    versions = (id(view), view._version, projection._version)
    made_from = (*versions, *focal, width, height, means.dtype, means.device)
    kept = _cameras.get(projection)
    if kept is None or kept.made_from != made_from:
        # The principal point stands in projmatrix: the share of z in its x and y.
        off_axis = view[:3, 2].detach().to(means.dtype) @ projection[:3, :2].detach().to(means.dtype)
        centers = [size / 2 * (1 + share) for size, share in zip((width, height), off_axis, strict=True)]
        values = torch.stack([*(means.new_full((), f) for f in focal), *(c.to(means) for c in centers)])
        kept = _cameras[projection] = _Camera(made_from, values[None])
    return kept.intrinsics


class _ScreenOffsets(torch.autograd.Function):
    """Zeros (1, N, 2) px, whose gradient becomes that of means2D (N, 2 or more) in units of half the picture's size."""

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, width: int, height: int) -> Tensor:
        ctx.shape, ctx.size = means2d.shape, (width, height)
        return means2d.new_zeros(1, means2d.shape[0], 2)

    @staticmethod
    def backward(ctx: Any, v_offsets: Tensor) -> tuple[Tensor, None, None]:
        gradient = v_offsets.new_zeros(ctx.shape)
        for axis, size in enumerate(ctx.size):
            torch.mul(v_offsets[0, :, axis], size / 2, out=gradient[:, axis])
        return gradient, None, None


def _screen_offsets(means2D: Tensor | None, settings: GaussianRasterizationSettings) -> Tensor | None:
    if means2D is None or not means2D.requires_grad:
        return None
    return _ScreenOffsets.apply(means2D, settings.image_width, settings.image_height)
