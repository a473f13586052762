"""Which engine trains on which device."""

import torch

from gaussian_splatting.training.engine_cpu import CpuEngine
from gaussian_splatting.training.state import Engine


def make_engine(device: torch.device | str) -> Engine:
    """The fastest engine for the device."""
    device = torch.device(device)
    if device.type == "cuda":
        from gaussian_splatting.training.engine_cuda import CudaEngine  # imported here: it needs NVIDIA's packages

        return CudaEngine(device)
    return CpuEngine(device)
