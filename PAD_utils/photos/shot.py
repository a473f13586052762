"""A photograph in the world of its class."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from gaussian_splatting.camera import Camera
from PAD_utils.photos.sfm import Posed


@dataclass(frozen=True)
class Shot:
    """A posed photograph, its pinhole camera in the world of the class, and a small undistorted copy (BGR or BGRA)."""

    posed: Posed
    camera: Camera
    small: UInt8[np.ndarray, "h w c"]

    @property
    def name(self) -> str:
        """The name of the photograph, without its suffix."""
        return self.posed.photo.name
