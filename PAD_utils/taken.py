"""A photograph made ready to be judged: decoded, upright, shrunk if it is large, without distortion."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize, read_image, read_uncut
from PAD_utils.data.intrinsics import Lens, exif_focal_px, query_lens

log = logging.getLogger(__name__)

Photo = np.ndarray | Tensor | Path | str


class Taken(NamedTuple):
    """A photograph as it is localized (cut out), the camera that took it, and the photograph as it is compared. All are
    without distortion."""

    image: UInt8[Tensor, "h w 3"]
    camera: Camera
    photograph: UInt8[Tensor, "h w 3"]


def take(photo: Photo, known: Lens, cut_out: bool, longest_px: int | None = None) -> Taken:
    """A photograph by the camera that `known`, the lens of the good views, tells of; its cut-out too where those are
    `cut_out`. Raises ValueError when it is no picture."""
    image = _shrunk(as_image(photo), longest_px)
    height, width = image.shape[:2]
    focal_px = exif_focal_px(Path(photo), width, height) if isinstance(photo, (str, Path)) else None
    lens, said = query_lens(width, height, known, focal_px)
    if said is not None:
        log.warning("a photograph of %dx%d pixels: its camera is %s; set InspectConfig.lens", width, height, said)
    uncut = read_uncut(Path(photo)) if cut_out and isinstance(photo, (str, Path)) else None
    straight, whole = (
        torch.from_numpy(lens.undistorted(x.numpy()))
        for x in (image, image if uncut is None else _shrunk(uncut[..., :3], longest_px))
    )
    return Taken(straight, lens.camera(), whole)


def as_image(photo: Photo) -> UInt8[Tensor, "h w 3"]:
    """A photograph, from a file or an array, as RGB on the CPU. Raises ValueError when it is not one."""
    if isinstance(photo, (str, Path)):
        return read_image(Path(photo))
    image = torch.as_tensor(photo).cpu()
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.numel() == 0:
        raise ValueError(f"a photograph must be uint8 (height, width, 3) RGB, got {image.dtype} {tuple(image.shape)}")
    return image


def _shrunk(image: UInt8[Tensor, "h w 3"], longest_px: int | None) -> UInt8[Tensor, "less_h less_w 3"]:
    height, width = image.shape[:2]
    share = 1.0 if longest_px is None else min(1.0, longest_px / max(height, width))
    size = max(1, round(share * width)), max(1, round(share * height))
    return torch.from_numpy(area_resize(image.numpy(), *size))
