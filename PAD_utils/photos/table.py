"""The table that the part stands on: its plane from points, its picture from above from all views, and what differs.

A point of the table is hidden behind the part in few views only, so the median over all of them shows the empty table.
Where a view differs from it there is the part, whatever its color; a shadow that stays with the part does not differ.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaussian_splatting.camera import Camera
from gaussian_splatting.parallel import parallel

_SEED = 0
_FEWEST_POINTS = 40
_TRIALS, _SHARE, _LEVEL = 400, 0.2, 0.94  # cosine: the table is level to 20 degrees
_PICTURE_PX, _EXTENT = 512, 7.0  # of the picture from above, and half its side in radii of the part
_MOST_VIEWS = 24  # that the median is taken of
_BLUR_PX = 1.2  # poses are not exact, and texture is sharp
_LEAST_LEVELS, _SPREADS = 14.0, 4.0  # a difference that shows: gray levels, and median differences of the view
Plane = Float[np.ndarray, "4"]


def find_table(points: Float[np.ndarray, "n 3"], width: float) -> Plane | None:
    """The level plane (a, b, c, d; a x + b y + c z + d > 0 above it) that holds most points and lies below the others.

    width: the distance within which points lie on it. None where there is no such plane.
    """
    if len(points) < _FEWEST_POINTS:
        return None
    rng = np.random.default_rng(_SEED)
    best, most = None, _SHARE * len(points)
    for _ in range(_TRIALS):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal) + 1e-12
        normal *= np.sign(normal[2]) or 1.0
        heights = (points - a) @ normal
        count = (np.abs(heights) < width).sum()
        if normal[2] > _LEVEL and count > most and (heights < -width).sum() < 0.1 * len(points):
            best, most = np.abs(heights) < width, count
    return None if best is None else _fitted(points[best])


def _fitted(points: Float[np.ndarray, "n 3"]) -> Plane:
    """The plane of least squares, its normal upward."""
    center = points.mean(0)
    normal = np.linalg.svd(points - center, full_matrices=False)[2][2]
    normal = normal * np.sign(normal[2])
    return np.append(normal, -center @ normal)


def differing(
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]], cameras: Sequence[Camera], plane: Plane, radius: float
) -> list[tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]]:
    """For each view: where it differs from the empty table, and where it shows the table's picture at all.

    The part, of this radius, stands near the origin.
    """
    onto = [_above_from_view(camera, plane, radius) for camera in cameras]
    pictures = [cv2.GaussianBlur(picture, (0, 0), _BLUR_PX) for picture in pictures]
    pictures = _evened(pictures, onto)
    empty, known = _empty(pictures, onto)

    def compare(view: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = pictures[view].shape[:2]
        back = np.linalg.inv(onto[view])
        expected = cv2.warpPerspective(empty, back, (width, height), flags=cv2.INTER_LINEAR)
        shown = cv2.warpPerspective(known, back, (width, height), flags=cv2.INTER_NEAREST) > 0
        shown &= _below_horizon(cameras[view], plane)
        difference = np.abs(pictures[view] - expected).max(-1)
        usual = float(np.median(difference[shown])) if shown.any() else 0.0
        return shown & (difference > max(_LEAST_LEVELS, _SPREADS * usual)), shown

    return parallel(compare, range(len(pictures)))


def _above_from_view(camera: Camera, plane: Plane, radius: float) -> Float[np.ndarray, "3 3"]:
    """The homography from pixels of a view to pixels of the picture from above."""
    normal, origin = plane[:3], -plane[3] * plane[:3]
    x = np.cross([0.0, 1.0, 0.0], normal)
    x /= np.linalg.norm(x)
    scale = 2 * _EXTENT * radius / _PICTURE_PX
    corner = origin - _EXTENT * radius * (x + np.cross(normal, x))
    on_plane = np.column_stack([scale * x, scale * np.cross(normal, x), corner])
    pose = camera.cam_from_world.numpy()
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    view = matrix @ (pose[:3, :3] @ on_plane + np.outer(pose[:3, 3], [0, 0, 1]))
    return np.linalg.inv(view)


def _below_horizon(camera: Camera, plane: Plane) -> Bool[np.ndarray, "h w"]:
    """The pixels whose rays meet the plane before the camera."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5 - camera.cx, np.arange(camera.height) + 0.5 - camera.cy)
    rays = np.stack([x / camera.fx, y / camera.fy, np.ones_like(x)], -1) @ camera.cam_from_world.numpy()[:3, :3]
    return np.asarray(rays @ plane[:3] < -0.02 * np.linalg.norm(rays, axis=-1))


def _warped(picture: np.ndarray, onto: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = (_PICTURE_PX, _PICTURE_PX)
    inside = cv2.warpPerspective(np.ones(picture.shape[:2], np.uint8), onto, size, flags=cv2.INTER_NEAREST) > 0
    return cv2.warpPerspective(picture, onto, size, flags=cv2.INTER_LINEAR), inside


def _evened(pictures: Sequence[np.ndarray], onto: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pictures as float, each color scaled so that the table has one brightness in all of them."""
    levels = []
    for picture, homography in zip(pictures, onto, strict=True):
        seen, inside = _warped(picture, homography)
        levels.append(np.median(seen[inside], axis=0) if inside.any() else np.full(3, np.nan))
    gains = np.nan_to_num(np.nanmedian(levels, axis=0) / np.maximum(levels, 1.0), nan=1.0)
    return [picture.astype(np.float32) * gain.astype(np.float32) for picture, gain in zip(pictures, gains, strict=True)]


def _empty(pictures: Sequence[np.ndarray], onto: Sequence[np.ndarray]) -> tuple[np.ndarray, UInt8[np.ndarray, "h w"]]:
    """The empty table from above, and where three views or more show it."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(_MOST_VIEWS, len(pictures))).round().astype(int))
    stack = np.full((len(chosen), _PICTURE_PX, _PICTURE_PX, 3), np.nan, np.float32)
    for number, view in enumerate(chosen):
        seen, inside = _warped(pictures[view], onto[view])
        stack[number][inside] = seen[inside]
    known = (~np.isnan(stack[..., 0])).sum(0) >= 3
    empty = np.zeros(stack.shape[1:], np.float32)
    empty[known] = np.nanmedian(stack[:, known], axis=0)
    return empty, known.astype(np.uint8)
