"""The plain-torch reference: the first link of the chain of trust, so it is checked against nothing but mathematics."""

import re

import pytest
import torch
from diff_gaussian_rasterization import constants
from diff_gaussian_rasterization.reference import rasterize as reference
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from diff_gaussian_rasterization.sources import csrc_dir
from diff_gaussian_rasterization.types import Scene

from tests.splat_scenes import TENSORS, broad_scene, random_scene, values_and_gradients


def test_constants_are_those_of_the_kernels():
    found = {}
    for header in ("constants.h", "pose.h", "pose_step.h"):
        text = (csrc_dir() / "common" / header).read_text()
        found |= dict(re.findall(r"constexpr (?:double|int) (\w+) = ([^;]+);", text))
    shared = {name for name in vars(constants) if name.isupper()} - {"ROBUST", "PARAMETERS"}
    assert shared == found.keys() - {"POSE_HESSIAN"}
    for name in shared:
        assert eval(found[name]) == getattr(constants, name), name  # our own header: numbers and a quotient


@pytest.mark.parametrize("sh", [0, 4])
def test_reference_gradients_are_finite_differences(sh: int):
    scene = broad_scene(sh)
    assert scene.opacities.numel() == (rasterize_reference(scene).radii > 0).sum(), "all are drawn"

    def pictures(*tensors):
        out = rasterize_reference(scene._replace(**dict(zip(TENSORS, tensors, strict=True))))
        return out.image, out.alpha, out.depth

    leaves = [getattr(scene, name).clone().requires_grad_() for name in TENSORS]
    assert torch.autograd.gradcheck(pictures, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)


def test_blocks_change_nothing():
    scene = random_scene(60, 37, 29)
    out, gradients = values_and_gradients(rasterize_reference, scene)
    whole, whole_gradients = values_and_gradients(lambda scene: rasterize_reference(scene, block=64), scene)
    for a, b in zip(out, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    for name in TENSORS:
        torch.testing.assert_close(gradients[name], whole_gradients[name], atol=1e-10, rtol=1e-10)


def test_one_round_gaussian_is_the_textbook_formula():
    """A ball of standard deviation s at depth z: alpha = o exp(-r^2 / (2 (f^2 s^2 / z^2 + 0.3)))."""
    f, s, z, opacity = 40.0, 0.2, 4.0, 0.7
    double = {"dtype": torch.float64}
    scene = Scene(
        torch.tensor([[0.0, 0.0, z]], **double),
        torch.full((1, 3), s, **double),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]], **double),
        torch.tensor([opacity], **double),
        torch.tensor([[1.0, 0.5, 0.0]], **double),
        torch.eye(4, **double)[None],
        torch.tensor([[f, f, 4.5, 4.5]], **double),
        9,
        9,
        torch.ones(3, **double),
        None,
    )
    out = rasterize_reference(scene)
    along = torch.arange(9, **double) - 4
    squared = along[:, None] ** 2 + along[None, :] ** 2
    alpha = opacity * torch.exp(-0.5 * squared / ((f * s / z) ** 2 + 0.3))
    alpha[alpha < 1 / 255] = 0
    torch.testing.assert_close(out.alpha[0], alpha)
    torch.testing.assert_close(out.depth[0], z * alpha)
    torch.testing.assert_close(out.image[0, 1], 1 - 0.5 * alpha)


def test_spherical_harmonics_are_orthonormal():
    """Over the sphere the integral of basis_i basis_j is 1 for i = j, else 0 (Gauss-Legendre in z, sums in angle)."""
    import numpy as np

    z, weight = np.polynomial.legendre.leggauss(8)
    angle = torch.arange(16, dtype=torch.float64) * (2 * torch.pi / 16)
    z, weight = torch.from_numpy(z)[:, None], torch.from_numpy(weight)[:, None].expand(8, 16)
    radius = (1 - z**2).sqrt()
    directions = torch.stack((radius * angle.cos(), radius * angle.sin(), z.expand(8, 16)), dim=-1).reshape(-1, 3)
    basis = reference.sh_basis(16, directions)
    gram = torch.einsum("ni,nj,n->ij", basis, basis, weight.reshape(-1) * (2 * torch.pi / 16))
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-12, rtol=0)
