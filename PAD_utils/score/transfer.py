"""Pictures between host and GPU: to it one by one, from it through memory that is pinned."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(pictures: Sequence[Tensor], device: torch.device) -> Tensor:
    """Pictures of one size and type as one batch on the device. Batches are not made on the host first: its memory has
    to be found for each, page by page, which takes five times as long as the copies to a GPU."""
    if device.type != "cuda":
        return torch.stack(list(pictures)).to(device)
    first = pictures[0]
    batch = torch.empty((len(pictures), *first.shape), dtype=first.dtype, device=device)
    for place, picture in zip(batch, pictures, strict=True):
        place.copy_(picture)
    return batch


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Copies in ordinary memory, all at once."""
    if not tensors[0].is_cuda:
        return list(tensors)
    staged = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True) for x in tensors]
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [x.clone() for x in staged]
