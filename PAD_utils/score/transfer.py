"""Pictures between host and GPU through memory that is pinned: several times as fast as from and to any other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(pictures: Sequence[Tensor], device: torch.device) -> Tensor:
    """Pictures of one size and type as one batch on the device; the host does not wait."""
    if device.type != "cuda" or pictures[0].is_cuda:
        return torch.stack(list(pictures)).to(device)
    first = pictures[0]
    staged = torch.empty((len(pictures), *first.shape), dtype=first.dtype, pin_memory=True)
    return torch.stack(list(pictures), out=staged).to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Copies in ordinary memory, all at once."""
    if not tensors[0].is_cuda:
        return list(tensors)
    staged = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True) for x in tensors]
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [x.clone() for x in staged]
