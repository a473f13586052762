"""Memory that was freed, given back: allocators keep it for the program, which may never want so much again."""

import ctypes
import gc
import sys

import torch


def give_back(device: torch.device) -> None:
    """Gives freed memory back to the system and, of a GPU, to other programs."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        # Of every graph that was recorded, PyTorch 2.11 keeps lists of page-locked blocks (47 kB) until this is called.
        getattr(torch._C, "_host_emptyCache", lambda: None)()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # of glibc alone
    if trim is not None:
        trim(0)
