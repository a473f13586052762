"""Freed memory goes back to the system."""

import os
import platform
from pathlib import Path

import pytest
import torch

from gaussian_splatting.memory import give_back


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives memory back by itself, or never")
def test_what_lies_below_memory_in_use_is_given_back() -> None:
    size, count = 100_000, 2000  # bytes: so small a block is cut from the heap, which shrinks from its top alone
    blocks = [b"x" * size for _ in range(count)]
    kept = blocks[-1]
    before = resident()
    blocks.clear()
    give_back(torch.device("cpu"))
    assert before - resident() > 0.8 * size * count and len(kept) == size
