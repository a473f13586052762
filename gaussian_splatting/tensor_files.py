"""Files of tensors, as torch writes them, read and written without its surprises."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch


def torch_bytes(content: object) -> bytes:
    """What `torch.save` writes. Written by torch itself, a full disk would be a RuntimeError that names no reason."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load_torch(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote: tensors and plain containers, nothing else is unpickled.

    torch compares no check sums, so that a flipped bit would be a wrong number. Raises ValueError where one differs,
    and whatever torch raises on what it cannot read.
    """
    if not path.is_file():
        raise ValueError("no file")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"the check sum of {damaged} differs")
    return torch.load(path, map_location=device, weights_only=True)
