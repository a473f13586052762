"""A tiny class in MAD-Sim layout, ray-cast with numpy: colored boxes, and for each defect one box more or one less."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from PAD_utils.files import write_json

CAMERA_ANGLE_X = 0.6911112070083618
NAME = "00Fake"
QUICK = ["-c", NAME, "-gauss_iters", "60", "-k", "3", "--features", "gradient", "--retrieval", "nearest"]
QUICK_JOB = [*QUICK, "--refiner", "adam"]
_LIGHT = np.array([0.36, 0.48, 0.8])


@dataclass(frozen=True)
class Box:
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    color: tuple[float, float, float]


BOXES = (
    Box((-0.55, -0.3, -0.15), (0.45, 0.3, 0.2), (0.2, 0.4, 0.8)),
    Box((0.2, -0.22, 0.2), (0.6, 0.22, 0.6), (0.9, 0.75, 0.1)),
    Box((-0.5, -0.25, -0.45), (-0.3, 0.0, -0.15), (0.7, 0.15, 0.15)),
    Box((0.15, 0.0, -0.45), (0.35, 0.25, -0.15), (0.15, 0.55, 0.25)),
)
DEFECTS = {
    "Burrs": (*BOXES, Box((-0.1, -0.1, 0.2), (0.05, 0.05, 0.4), BOXES[0].color)),
    "Missing": BOXES[:3],
    "Stains": (*BOXES, Box((-0.45, -0.31, -0.1), (-0.2, 0.31, 0.21), (0.95, 0.5, 0.6))),
}


def look_at(azimuth_rad: float, elevation_rad: float, distance: float) -> np.ndarray:
    """world_from_camera (4, 4) in Blender axes of a camera that looks at the origin, z up."""
    back = np.array(
        [
            math.cos(elevation_rad) * math.cos(azimuth_rad),
            math.cos(elevation_rad) * math.sin(azimuth_rad),
            math.sin(elevation_rad),
        ]
    )
    right = np.array([-math.sin(azimuth_rad), math.cos(azimuth_rad), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = distance * back
    return pose


def ray_cast(boxes: tuple[Box, ...], pose: np.ndarray, size: int, samples: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The picture (size, size, 3) uint8 over white, samples^2 rays a pixel, and each ray's nearest box (-1: none)."""
    n = size * samples
    offset = ((np.arange(n) + 0.5) / n * 2 - 1) * math.tan(0.5 * CAMERA_ANGLE_X)
    x, y = np.meshgrid(offset, -offset)
    directions = np.stack([x, y, -np.ones_like(x)], -1) @ pose[:3, :3].T
    nearest = np.full((n, n), np.inf)
    color = np.ones((n, n, 3))
    hit = np.full((n, n), -1)
    for index, box in enumerate(boxes):
        low = (np.array(box.low) - pose[:3, 3]) / directions
        high = (np.array(box.high) - pose[:3, 3]) / directions
        entry, leave = np.minimum(low, high), np.maximum(low, high).min(-1)
        axis = entry.argmax(-1)
        distance = entry.max(-1)
        visible = (distance < leave) & (distance > 0) & (distance < nearest)
        toward = -np.sign(np.take_along_axis(directions, axis[..., None], -1)[..., 0])
        shade = 0.62 + 0.38 * toward * _LIGHT[axis]
        nearest[visible], hit[visible] = distance[visible], index
        color[visible] = (np.array(box.color) * shade[..., None])[visible]
    picture = color.reshape(size, samples, size, samples, 3).mean((1, 3))
    return (255 * picture + 0.5).astype(np.uint8), hit


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The mask (h, w) of pixels that differ by more than rounding."""
    return np.abs(a.astype(int) - b.astype(int)).max(-1) > 2


def write_fake_class(data_path: Path, size: int = 32, rings: int = 3, per_ring: int = 6, tests: int = 3) -> Path:
    """Writes `data_path/00Fake`: rings * per_ring training views and `tests` posed test pictures of each kind."""
    root = data_path / NAME
    views = []
    for ring in range(rings):
        elevation = math.radians(60 - 120 * ring / max(1, rings - 1))
        for step in range(per_ring):
            views.append(look_at(2 * math.pi * (step + ring / 2) / per_ring, elevation, 2.8))
    for number, pose in enumerate(views):
        _write_rgb(root / "train" / "good" / f"{number}.png", ray_cast(BOXES, pose, size)[0])
    write_json(root / "transforms.json", _transforms({f"train/good/{n}": pose for n, pose in enumerate(views)}))
    rng = np.random.default_rng(0)
    test = {}
    for defect, boxes in {"good": BOXES, **DEFECTS}.items():
        for number in range(tests):
            pose, picture, mask = _test_view(rng, boxes, size, visible=defect != "good")
            test[f"test/{defect}/{number}"] = pose
            _write_rgb(root / "test" / defect / f"{number}.png", picture)
            if defect != "good":
                path = root / "ground_truth" / defect / f"{number}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), 255 * mask.astype(np.uint8))
    write_json(root / "transforms_test.json", _transforms(test))
    return root


def _test_view(rng: np.random.Generator, boxes: tuple[Box, ...], size: int, visible: bool) -> tuple[np.ndarray, ...]:
    """A pose off the rig, its picture and mask; drawn again until a defect shows on at least 6 pixels."""
    while True:
        pose = look_at(rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(-55, 55)), rng.uniform(2.7, 2.9))
        picture = ray_cast(boxes, pose, size)[0]
        mask = difference(picture, ray_cast(BOXES, pose, size)[0])
        if not visible or mask.sum() >= 6:
            return pose, picture, mask


def _transforms(poses: dict[str, np.ndarray]) -> dict:
    frames = [{"file_path": name, "transform_matrix": pose.tolist()} for name, pose in poses.items()]
    return {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}


def _write_rgb(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])
