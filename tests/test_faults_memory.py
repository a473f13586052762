"""Too little memory ends in one line, wherever it strikes."""

import pytest
import torch
from diff_gaussian_rasterization.cpu.loader import call, cpu_library


@pytest.mark.skipif(cpu_library() is None, reason="no compiled kernels")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("views", [1, 64], ids=["outside", "inside a parallel region"])
def test_a_kernel_that_finds_no_memory_says_so(views: int, dtype: torch.dtype) -> None:
    with pytest.raises(MemoryError, match="gs_bin"):
        call("gs_bin", dtype, 1 << 45, views, 16, 16, None, None, None, None)  # asks for 140 TB first of all
    call("gs_bin", dtype, 0, 0, 16, 16, None, torch.zeros(1).long(), torch.zeros(1).long(), None)  # and is over then
