"""The model: a cloud of 3D Gaussians, held as raw (unconstrained) parameters. Activations happen only here."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814  # the constant spherical harmonic: color = 0.5 + SH_C0 * sh[:, 0]


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians: means in world units, log of the three standard deviations, unnormalized wxyz quaternions, logit of
    the opacity, and spherical harmonics (N, K, 3) with K = 1, 4, 9 or 16."""

    means: Float[Tensor, "n 3"]
    log_scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    opacity_logits: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        return {1: 0, 4: 1, 9: 2, 16: 3}[self.sh.shape[1]]

    @property
    def scales(self) -> Float[Tensor, "n 3"]:
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, "n"]:
        return self.opacity_logits.sigmoid()

    def as_dict(self) -> dict[str, Tensor]:
        """The raw parameters by name, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Gaussians":
        return replace(self, **{k: v.to(device=device, dtype=dtype) for k, v in self.as_dict().items()})

    def detached(self) -> "Gaussians":
        return replace(self, **{k: v.detach() for k, v in self.as_dict().items()})

    def __getitem__(self, keep: Tensor) -> "Gaussians":
        """The Gaussians selected by a boolean mask or an index tensor."""
        return replace(self, **{k: v[keep] for k, v in self.as_dict().items()})
