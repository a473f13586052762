"""The paper's coarse pose (`--retrieval loftr`): the gallery view with the most LoFTR matches."""

from pathlib import Path

import torch
from torch import nn

from PAD_utils.errors import UserError


def load_loftr(weights: Path | None, device: torch.device | str) -> nn.Module:
    """kornia's LoFTR with PAD's indoor checkpoint. Raises UserError when kornia or the checkpoint is missing."""
    raise UserError("--retrieval loftr is not there yet")
