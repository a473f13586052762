"""The original's own numbers, through its own face: kernels on the CPU and the plain-torch reference.

(Those of the GPU: test_cuda_emulated and test_cuda_gpu.)"""

import pytest
import torch
from diff_gaussian_rasterization import ops

from tests.golden import CASES, CLAMPED, Golden


@pytest.mark.parametrize("case", CASES)
def test_the_cpu_kernels_draw_and_differentiate_as_the_original(case: str) -> None:
    Golden(case).check()


@pytest.mark.parametrize("case", CASES)
def test_the_reference_draws_and_differentiates_as_the_original(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "must_use_reference", lambda _: True)
    Golden(case, dtype=torch.float64).check()


def test_the_faults_of_the_original_are_no_smaller_than_the_readme_says() -> None:
    """So that what golden.py sets right is still wrong there: else it would hide a fault of ours."""
    golden = Golden("scaled")
    for name, least in (("rotations", 0.1), ("scales", 0.3)):
        right = golden.gradient(name)
        assert (golden.original(name) - right).norm() > least * right.norm(), name
    golden.check()
    ours = golden.leaves["means3D"].grad
    assert ours is not None
    difference = ours - golden.original("means3D")
    forward = golden.settings().viewmatrix[:3, 2]
    torch.testing.assert_close(difference[CLAMPED], (difference[CLAMPED] @ forward) * forward, atol=1e-4, rtol=0)
    assert difference[CLAMPED].norm() > 0.05
