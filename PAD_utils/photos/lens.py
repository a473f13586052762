"""Lenses: a distorted camera as COLMAP describes it, and the pinhole camera that its pictures are resampled to.

COLMAP puts the center of the first pixel at (0.5, 0.5), as this project does; cv2.remap puts it at (0, 0).
"""

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from gaussian_splatting.camera import Camera

_IDENTITY_PX = 0.02  # maps that move no pixel farther are left out: resampling blurs
_ZOOMS = (0.5, 2.0)  # of the pinhole's focal length against the lens's
_BORDER_POINTS = 64  # on each side of the picture


class Lens:
    """Resamples pictures of one `pycolmap.Camera`, of any model, to `pinhole`, which shows no pixel from outside."""

    def __init__(self, camera: Any) -> None:
        self.camera = camera
        self.pinhole = _pinhole(camera)
        self._maps = _maps(camera, self.pinhole)
        self.moves_px = _farthest(self._maps)

    def undistorted(self, pixels: UInt8[np.ndarray, "h w *c"], nearest: bool = False) -> UInt8[np.ndarray, "h w *c"]:
        """The picture as the pinhole sees it. nearest: for masks, whose values must not mix."""
        if self.moves_px < _IDENTITY_PX:
            return pixels
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_CUBIC
        return cv2.remap(pixels, *self._maps, how, borderMode=cv2.BORDER_REPLICATE)


def _pinhole(camera: Any) -> Camera:
    """The smallest focal length, in steps of a thousandth, at which every pixel comes from inside the picture."""
    f = camera.mean_focal_length()
    if camera.is_undistorted() and camera.focal_length_x == camera.focal_length_y:
        return _zoomed(camera, f)
    low, high = _ZOOMS
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if _stays_inside(camera, _zoomed(camera, middle * f)) else (middle, high)
    return _zoomed(camera, high * f)


def _zoomed(camera: Any, f: float) -> Camera:
    """At the origin, with square pixels and the lens's principal point."""
    cx, cy = camera.principal_point_x, camera.principal_point_y
    return Camera(camera.width, camera.height, f, f, cx, cy, torch.eye(4, dtype=torch.float64))


def _stays_inside(camera: Any, pinhole: Camera) -> bool:
    x, y = np.linspace(0, pinhole.width, _BORDER_POINTS), np.linspace(0, pinhole.height, _BORDER_POINTS)
    sides = [(x, 0 * x), (x, 0 * x + pinhole.height), (0 * y, y), (0 * y + pinhole.width, y)]
    found = _seen_at(camera, pinhole, np.concatenate([np.stack(side, 1) for side in sides]))
    return bool(((found >= 0) & (found <= [camera.width, camera.height])).all())


def _maps(camera: Any, pinhole: Camera) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    u, v = np.meshgrid(np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5)
    found = _seen_at(camera, pinhole, np.stack([u.ravel(), v.ravel()], 1)).astype(np.float32) - np.float32(0.5)
    shape = (pinhole.height, pinhole.width)
    return found[:, 0].reshape(shape), found[:, 1].reshape(shape)


def _seen_at(camera: Any, pinhole: Camera, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Where the lens shows what the pinhole shows at `points`."""
    rays = np.concatenate([(points - [pinhole.cx, pinhole.cy]) / pinhole.fx, np.ones((len(points), 1))], 1)
    return np.asarray(camera.img_from_cam(rays))


def _farthest(maps: tuple[np.ndarray, np.ndarray]) -> float:
    height, width = maps[0].shape
    return float(max(np.abs(maps[0] - np.arange(width)).max(), np.abs(maps[1] - np.arange(height)[:, None]).max()))
