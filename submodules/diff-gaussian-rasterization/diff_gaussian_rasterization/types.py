"""What goes into the rasterizer and comes out of it, and what its backends hand to one another.

Shapes: N Gaussians, B views of one size, Q pictures. Floating tensors are all float32 or all float64 on the CPU,
float32 on CUDA.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cloud(NamedTuple):
    """N Gaussians: means (N, 3) world units; scales (N, 3) standard deviations, positive, and quats (N, 4) wxyz, any
    length but 0, or in the place of scales covariances (N, 6), their entries xx, xy, xz, yy, yz, zz, and quats (N, 0);
    opacities (N,) in [0, 1]; colors (N, 3), or spherical harmonics (N, K, 3) with K = 1, 4, 9, 16."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor


class Scene(NamedTuple):
    """A cloud and the cameras that look at it: cam_from_world (B, 4, 4) in OpenCV axes (x right, y down, z forward);
    intrinsics (B, 4) fx, fy, cx, cy in pixels; background (3,); screen_offsets (B, N, 2) pixels added to the projected
    means, whose gradient densification reads. antialiased: a splat loses as much opacity as COVARIANCE_DILATION widens
    it (Mip-Splatting, Yu et al. 2024, as 3DGS has it). inverse_depth: the depth picture sums weight over camera z.
    tiles_of_3dgs: a splat ends, as in 3DGS, with the tiles of 16x16 px that the square of radii_of_3dgs meets."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor
    cam_from_world: Tensor
    intrinsics: Tensor
    width: int
    height: int
    background: Tensor
    screen_offsets: Tensor | None = None
    antialiased: bool = False
    inverse_depth: bool = False
    tiles_of_3dgs: bool = False

    @property
    def by_covariance(self) -> bool:
        """Whether `scales` holds covariances."""
        return self.scales.shape[1] == 6

    @property
    def cloud(self) -> Cloud:
        """The Gaussians alone."""
        return Cloud(*self[:5])

    @property
    def sh_count(self) -> int:
        """Spherical harmonics per channel; 0 where the colors are taken as they are."""
        return 0 if self.colors.ndim == 2 else self.colors.shape[1]


class Rasterized(NamedTuple):
    """image (B, 3, H, W) over the background, not clamped; alpha (B, H, W); depth (B, H, W), the sum of blending weight
    times camera z, or over it; radii (B, N) int32 pixels, 0 where a Gaussian is not drawn; radii_of_3dgs (B, N) int32
    pixels, three standard deviations, 0 where a square of this half side meets no tile of 16x16 px of the picture: as
    3DGS counts, whether it is faint or not."""

    image: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor
    radii_of_3dgs: Tensor


class Forward(NamedTuple):
    """What a backend draws, as `Rasterized`, and `state` for its backward pass, whose layout is its own affair."""

    image: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor
    radii_of_3dgs: Tensor
    state: list[Tensor]


class PictureGradient(NamedTuple):
    """The gradient of the loss in a picture; None: zero, for nothing of the loss reads it."""

    image: Tensor | None
    alpha: Tensor | None
    depth: Tensor | None


class Wanted(NamedTuple):
    """Which gradients are asked for of those that cost extra; a backend leaves the others empty."""

    cameras: bool = True
    background: bool = True


ALL = Wanted()


class Gradients(NamedTuple):
    """The gradient of the loss in each tensor of a scene, under its name."""

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    colors: Tensor
    cam_from_world: Tensor
    intrinsics: Tensor
    background: Tensor
    screen_offsets: Tensor


class Fits(NamedTuple):
    """B poses of one cloud and what each is compared with; meanings in `pose_normal_equations`."""

    cam_from_world: Tensor  # (B, 4, 4)
    intrinsics: Tensor  # (B, 4)
    width: int
    height: int
    background: Tensor  # (B, 3)
    targets: Tensor  # (Q, H, W, 3) uint8
    target_index: Tensor  # (B,) int64
    center: Tensor  # (3,)
    robust: str
    scale: Tensor  # (B,)
    gain: Tensor  # (B,)
    offset: Tensor  # (B,)
    detail: float

    def scene(self, cloud: Cloud) -> Scene:
        """The cloud seen from these poses."""
        return Scene(*cloud, self.cam_from_world, self.intrinsics, self.width, self.height, self.background)


class NormalEquations(NamedTuple):
    """Per pose: hessian (B, 8, 8) = J^T W J and gradient (B, 8) = J^T W r over (rho, omega, gain, offset), the robust
    cost (B,) summed over the pixels, and the histogram (B, 128) int32 of residuals over the pixels that the model
    touches."""

    hessian: Tensor
    gradient: Tensor
    cost: Tensor
    histogram: Tensor


class PoseState(NamedTuple):
    """P poses under way, equally many in a row for each picture; float64. `scale` of the residuals is shared within a
    picture, so that costs compare. `step` is the length of the last step (radians, or share of the distance). A pose
    that is not `alive` has been given up and only fills a place; one that is not `active` has settled."""

    picture: Tensor  # (P,) int64
    cam_from_world: Tensor  # (P, 4, 4)
    gain: Tensor  # (P,), as all that follows
    offset: Tensor
    scale: Tensor
    damping: Tensor
    alive: Tensor  # bool
    active: Tensor  # bool
    step: Tensor
    steps: Tensor  # int64

    def select(self, index: Tensor) -> "PoseState":
        """The poses at `index` (K,)."""
        return PoseState(*(tensor[index] for tensor in self))

    def copied(self) -> "PoseState":
        """The same in memory of its own."""
        return PoseState(*map(Tensor.clone, self))


class Drawn(NamedTuple):
    """What P poses are drawn with, in the model's type: see `Fits`."""

    cam_from_world: Tensor  # (P, 4, 4)
    gain: Tensor  # (P,)
    offset: Tensor  # (P,)
    scale: Tensor  # (P,), 0 for a pose that is left out
    background: Tensor  # (P, 3)


class Trial(NamedTuple):
    """Where P poses would step to, float64, and the `length` (P,) of the step as in PoseState; `drawn` for looking."""

    cam_from_world: Tensor
    gain: Tensor
    offset: Tensor
    length: Tensor
    drawn: Drawn

    @staticmethod
    def room_for(state: PoseState, dtype: torch.dtype) -> "Trial":
        """Memory for the trials of `state`, drawn in `dtype`."""
        like = state.gain
        sizes = ((4, 4), (), (), (), (3,))
        drawn = Drawn(*(like.new_empty((len(like), *size), dtype=dtype) for size in sizes))
        return Trial(torch.empty_like(state.cam_from_world), *like.new_empty(3, len(like)), drawn)
