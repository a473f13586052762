"""Lenses: what a transforms file says of them, pictures without their distortion, and the lens of a query."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import ExifTags, Image

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import is_plain_png, read_exif
from PAD_utils.errors import UserError
from PAD_utils.files import read_json

FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
DISTORTION_KEYS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # OpenCV's order
LENS_KEYS = (*FOCAL_KEYS, *DISTORTION_KEYS, "cx", "cy", "w", "h", "camera_model", "is_fisheye")
_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
_MOST = 1e9
_RANGES = {"w": (1.0, 1e6), "h": (1.0, 1e6), "fl_x": (1e-3, _MOST), "fl_y": (1e-3, _MOST)}
_SAME_SHAPE = 0.01  # two sizes whose aspect differs by less are of one shape: rounding of a resampled picture
_OTHER_FOCAL = 0.1  # EXIF rounds the focal length; a larger difference is another camera
_FILM_DIAGONAL_MM = 43.267  # of 36 mm x 24 mm: what "35 mm equivalent" refers to (CIPA DCG-001)


@dataclass(frozen=True)
class Lens:
    """Intrinsics in pixels of pictures of `width` x `height`, pixel centers at (i + 0.5, j + 0.5), and the distortion
    (k1, k2, p1, p2, k3, k4, k5, k6) of OpenCV's model."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0,) * 8

    @staticmethod
    def of(camera: Camera) -> "Lens":
        """The lens of a camera, without distortion."""
        return Lens(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens behind pictures resampled to width x height."""
        sx, sy = width / self.width, height / self.height
        return Lens(width, height, self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, self.distortion)

    def turned(self, quarters: int) -> "Lens":
        """The same lens behind pictures turned by so many quarters, as `numpy.rot90`."""
        lens = self
        for _ in range(quarters % 4):
            k1, k2, p1, p2, *others = lens.distortion
            lens = Lens(
                lens.height, lens.width, lens.fy, lens.fx, lens.cy, lens.width - lens.cx, (k1, k2, -p2, p1, *others)
            )
        return lens

    def cropped(self, left: int, top: int, width: int, height: int) -> "Lens":
        """The same lens behind a part of the pictures."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def camera(self) -> Camera:
        """The camera of pictures without distortion, still without a pose."""
        pose = torch.eye(4, dtype=torch.float64)
        return Camera(self.width, self.height, self.fx, self.fy, self.cx, self.cy, pose)

    @property
    def distorts(self) -> bool:
        """Whether straight edges come out curved."""
        return any(self.distortion)

    def undistorted(self, image: np.ndarray) -> np.ndarray:
        """The picture (h, w[, c]) as the same lens would take it without distortion: same size and intrinsics.

        What no pixel shows repeats the border, so that a plain backdrop goes on.
        """
        if not self.distorts:
            return image
        # OpenCV counts pixels from their centers.
        matrix = np.array([[self.fx, 0, self.cx - 0.5], [0, self.fy, self.cy - 0.5], [0, 0, 1]])
        size = (self.width, self.height)
        maps = cv2.initUndistortRectifyMap(matrix, np.array(self.distortion), np.eye(3), matrix, size, cv2.CV_32FC1)
        return cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class LensSpec:
    """What a file says of a lens, by the keys of transforms.json; `source` names the file in messages."""

    keys: Mapping[str, Any]
    source: str

    def lens(self, width: int, height: int) -> Lens:
        """The lens of a picture of this size. Raises UserError naming the file when the size is another shape."""
        w, h = float(self.keys.get("w", width)), float(self.keys.get("h", height))
        if not _same_shape(width / height, w / h):
            raise UserError(
                f"{self.source} speaks of pictures of {w:g}x{h:g} pixels, but one is {width}x{height}; "
                "give the pictures that the file was made for"
            )
        fx, fy = self._focal(w, h)
        lens = Lens(round(w), round(h), fx, fy, self._number("cx", w / 2), self._number("cy", h / 2), self._distortion)
        return lens.resized(width, height)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size of the pictures that the file speaks of; the given one where it does not say."""
        return round(float(self.keys.get("w", width))), round(float(self.keys.get("h", height)))

    def _focal(self, width: float, height: float) -> tuple[float, float]:
        def of_angle(key: str, side: float) -> float | None:
            return 0.5 * side / math.tan(0.5 * float(self.keys[key])) if key in self.keys else None

        fx = self._number("fl_x", of_angle("camera_angle_x", width))
        fy = self._number("fl_y", of_angle("camera_angle_y", height))
        return (fx or fy), (fy or fx)

    def _number(self, key: str, default: float | None) -> Any:
        return float(self.keys[key]) if key in self.keys else default

    @property
    def _distortion(self) -> tuple[float, ...]:
        return tuple(float(self.keys.get(key, 0.0)) for key in DISTORTION_KEYS)


def lens_spec(content: Mapping[str, Any], frame: Mapping[str, Any], source: Path) -> LensSpec:
    """The lens that a transforms file gives a frame: the frame's own keys before those at the top.

    Raises UserError naming the file and the key: no focal length, a value out of range, a fisheye or unknown model.
    """
    keys = {key: content[key] for key in LENS_KEYS if content.get(key) is not None}
    own = {key: frame[key] for key in LENS_KEYS if frame.get(key) is not None}
    if any(key in own for key in FOCAL_KEYS):
        keys = {key: value for key, value in keys.items() if key not in FOCAL_KEYS}
    keys |= own
    _check_model(keys, source)
    if not any(key in keys for key in FOCAL_KEYS):
        raise UserError(f"{source} lacks the key 'camera_angle_x' or 'fl_x'; it must say how wide the camera sees")
    for key, value in keys.items():
        if key not in ("camera_model", "is_fisheye"):
            _check_number(key, value, source)
    return LensSpec(keys, str(source))


def read_lens(path: Path) -> LensSpec:
    """The lens in a file of --camera: the keys of transforms.json, at the top or in its first frame.

    Raises UserError as `lens_spec`.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no camera file; expected an object with fl_x, fl_y, cx, cy, w, h")
    frames = content.get("frames") or [{}]
    return lens_spec(content, frames[0], path)


def exif_focal_px(path: Path, width: int, height: int) -> float | None:
    """The focal length in pixels that a photograph of this size carries (EXIF 35 mm equivalent); None: it says none."""
    try:
        if is_plain_png(path):
            return None
        with Image.open(path) as picture:
            film_mm = read_exif(path, picture).get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    except (OSError, ValueError, SyntaxError):
        return None  # what is wrong with a file is said where its pixels are read
    return float(film_mm) * math.hypot(width, height) / _FILM_DIAGONAL_MM if film_mm else None


def query_lens(width: int, height: int, known: Lens, focal_px: float | None) -> tuple[Lens, str | None]:
    """The lens of a photograph that nothing is said about, and what has to be said about the guess.

    known: the lens of the training pictures. A photograph of their shape was taken with it, held upright too; of
    another shape, or where the `focal_px` of its EXIF is another one, with another camera or cropped.
    """
    shape, known_shape = width / height, known.width / known.height
    upright = _same_shape(shape, 1 / known_shape) and not _same_shape(shape, known_shape)
    like = known.turned(1) if upright else known
    if upright:  # by which side it was turned is unknown: the middle is right for both
        like = replace(like, cx=like.width / 2, cy=like.height / 2)
    same = (width, height) == (like.width, like.height)
    if _same_shape(shape, like.width / like.height):
        like = like.resized(width, height)
        if same or focal_px is None or abs(focal_px / like.fx - 1) < _OTHER_FOCAL:
            return like, None
    if focal_px is not None:
        return _plain(width, height, focal_px), f"taken from EXIF: a focal length of {focal_px:.0f} px"
    if (width - height) * (like.width - like.height) < 0:
        like = like.turned(1)
    zoom = max(width / like.width, height / like.height)
    return _plain(width, height, like.fx * zoom), "taken to be a crop of the training camera's"


def _plain(width: int, height: int, focal_px: float) -> Lens:
    return Lens(width, height, focal_px, focal_px, width / 2, height / 2)


def _same_shape(a: float, b: float) -> bool:
    return abs(a / b - 1) < _SAME_SHAPE


def _check_model(keys: Mapping[str, Any], source: Path) -> None:
    model = str(keys.get("camera_model", "OPENCV")).upper()
    if keys.get("is_fisheye") or model not in _MODELS:
        name = "is_fisheye" if keys.get("is_fisheye") else f"camera_model {model}"
        raise UserError(
            f"{source}: {name} is not known here, only perspective lenses ({', '.join(_MODELS)}); "
            "undistort the pictures first, for instance with COLMAP's image_undistorter"
        )
    rational = any(keys.get(key) for key in ("k4", "k5", "k6"))
    if rational and model != "FULL_OPENCV":
        raise UserError(f"{source}: k4 of camera_model {model} has no agreed meaning; undistort the pictures first")


def _check_number(key: str, value: Any, source: Path) -> None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{source}: {key} is {value!r}, not a number; mend it") from None
    if not math.isfinite(number):
        raise UserError(f"{source}: {key} is {number}; mend it")
    if key.startswith("camera_angle") and not 0 < number < 3.1415:
        raise UserError(f"{source}: {key} is {number}; it must be a field of view in radians, between 0 and pi")
    if key in ("fl_x", "fl_y", "w", "h") and number <= 0:
        raise UserError(f"{source}: {key} is {number}; it must be a number of pixels above 0")
    least, most = _RANGES.get(key, (-_MOST, _MOST))
    if not least <= number <= most:
        raise UserError(f"{source}: {key} is {number}; no camera has that, {least:g} to {most:g} is possible; mend it")
