"""The tensors that a rasterizer's backends hand to one another."""

from typing import NamedTuple

from torch import Tensor


class Scene(NamedTuple):
    """The arguments of `rasterize`, checked and contiguous; meanings and shapes in its docstring."""

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
    screen_offsets: Tensor | None

    @property
    def cloud(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The Gaussians: means, scales, quats, opacities, colors."""
        return self.means, self.scales, self.quats, self.opacities, self.colors

    @property
    def sh_count(self) -> int:
        """Spherical harmonics per channel; 0 where the colors are taken as they are."""
        return 0 if self.colors.ndim == 2 else self.colors.shape[1]


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
