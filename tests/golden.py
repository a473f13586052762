"""What the original rasterizer computes: 300 Gaussians over 72x48 px, five calls, as numbers.

data/golden_rasterizer.npz was computed by the original CUDA rasterizer (commit 59f5f77, compiled for an H200): the
inputs, and of each case the picture, the radii and the gradients of the sum of picture * weight, rounded to 17 binary
digits.
Three of its gradients are not those of its picture, and are set right here before they are compared:
- of `rotations` it keeps the part along the quaternion, though it takes quaternions as normalized;
- of `scales` it leaves out the factor scale_modifier;
- where x/z or y/z is clamped in the projection's Jacobian it derives by z as if it were not: so with one Gaussian
  that is drawn in the case "scaled", whose gradient is left out.
"""

from pathlib import Path

import numpy as np
import torch
from diff_gaussian_rasterization import GaussianRasterizationSettings, GaussianRasterizer
from torch import Tensor

CASES = ("sh0", "sh3", "colors", "cov3D", "scaled")
_INPUTS = {
    "sh0": ("shs", "scales", "rotations"),
    "sh3": ("shs", "scales", "rotations"),
    "colors": ("colors", "scales", "rotations"),
    "cov3D": ("colors", "cov3D"),
    "scaled": ("colors", "scales", "rotations"),
}
_ARGUMENTS = {"colors": "colors_precomp", "cov3D": "cov3D_precomp"}  # the others are called as the array is
SCALE_MODIFIER = 1.5  # of the case "scaled"
CLAMPED = 288  # the one Gaussian of the case "scaled" whose x/z is clamped and that is drawn


class Golden:
    """One case: what goes in, on a device and in a type, and what comes out."""

    def __init__(self, case: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        with np.load(Path(__file__).parent / "data" / "golden_rasterizer.npz") as arrays:
            self._arrays = {name: torch.from_numpy(arrays[name]) for name in arrays}
        self.case, self._to = case, (device, dtype)
        self.modifier = SCALE_MODIFIER if case == "scaled" else 1.0
        names = ("means3D", "opacities", *_INPUTS[case])
        self.leaves = {name: self._tensor(name).requires_grad_() for name in names}
        self.leaves["means2D"] = torch.zeros_like(self.leaves["means3D"]).requires_grad_()

    def _tensor(self, name: str) -> Tensor:
        return self._arrays[name].to(*self._to)

    def settings(self) -> GaussianRasterizationSettings:
        numbers = {name: self._arrays[name].item() for name in ("height", "width", "tanfovx", "tanfovy")}
        return GaussianRasterizationSettings(
            image_height=numbers["height"],
            image_width=numbers["width"],
            tanfovx=numbers["tanfovx"],
            tanfovy=numbers["tanfovy"],
            bg=self._tensor("bg"),
            scale_modifier=self.modifier,
            viewmatrix=self._tensor("viewmatrix"),
            projmatrix=self._tensor("projmatrix"),
            sh_degree=3 if self.case == "sh3" else 0,
            campos=self._tensor("campos"),
            prefiltered=False,
            debug=False,
        )

    def check(self) -> None:
        """Draws, differentiates and compares."""
        arguments = {_ARGUMENTS.get(name, name): leaf for name, leaf in self.leaves.items()}
        image, radii = GaussianRasterizer(self.settings())(**arguments)
        (image * self._tensor("weight")).sum().backward()
        torch.testing.assert_close(image, self._tensor(f"{self.case}_image"), atol=2e-5, rtol=0)
        assert (radii.cpu() == self._arrays[f"{self.case}_radii"]).all()
        for name, leaf in self.leaves.items():
            assert leaf.grad is not None
            want = self.gradient(name)
            got = leaf.grad[:, : want.shape[1]] if name in ("means2D", "shs") else leaf.grad
            if self.case == "scaled" and name == "means3D":
                want[CLAMPED] = got[CLAMPED]
            assert (got - want).norm() <= 3e-5 * want.norm(), name

    def original(self, name: str) -> Tensor:
        """The original's gradient, as it is."""
        return self._tensor(f"{self.case}_grad_{name}").clone()

    def gradient(self, name: str) -> Tensor:
        """The original's gradient, set right but for CLAMPED."""
        want = self.original(name)
        if name == "rotations":
            quats = self._tensor("rotations")
            return want - (want * quats).sum(1, keepdim=True) * quats / quats.square().sum(1, keepdim=True)
        return want * self.modifier if name == "scales" else want
