"""Rendered classes in MAD-Sim's layout: its camera rig, its kinds of defects with exact masks, and true test poses."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaussian_splatting.images import encoded
from PAD_utils.data.layout import GOOD
from PAD_utils.data.mad import resize_mask
from PAD_utils.data.transforms import read_transforms
from PAD_utils.errors import UserError
from PAD_utils.files import read_json, write_bytes, write_json
from PAD_utils.synthetic.animals import PALETTES, build_animal
from PAD_utils.synthetic.defects import DEFECTS
from PAD_utils.synthetic.render import CAMERA_ANGLE_X_RAD, SUBSAMPLES, Light, Renderer, Surface, changed
from PAD_utils.synthetic.shapes import Part, merge

RINGS, PER_RING = 14, 15  # MAD-Sim's rig: elevations from 85 to -85 degrees
TOP_ELEVATION_DEG, RING_STEP_DEG = 85.0, 13.08
_AREAS = {"Burrs": (20, 90), "Missing": (20, 260), "Stains": (20, 90)}  # pixels at 200 px: seen, but not huge
_VISIBLE_SHARE = 0.5  # of the mask must change clearly: a red stain on red bricks is no test of anything
MOST_VISIBLE = 80  # with more, own-colored burrs could not be drawn in every palette
_TRIES_PER_DEFECT = 6  # viewpoints tried before another defect is drawn
_log = logging.getLogger(__name__)
Pose = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class SyntheticConfig:
    """What a class looks like. Equal settings make equal classes; more test pictures leave the first as they are."""

    name: str = "00Demo"
    seed: int = 0
    palette: str = "colourful"
    size: int = 200
    views_per_ring: int = 5  # of the 15 places on each of the 14 rings
    good: int = 6
    defects: int = 6  # of each kind
    samples: int = 121  # per pixel
    distance: float = 3.0  # of the cameras: MAD-Sim has 3.0, 3.5 and 4.0
    visible: int = 45  # gray levels by which a color changes where a defect shows clearly
    light_turn_deg: float = 0.0  # the light of the test pictures is turned by this
    gain: float = 1.0  # brightness of the test pictures

    def __post_init__(self) -> None:
        limits = {"seed": 0, "size": 16, "views_per_ring": 1, "good": 0, "defects": 0, "samples": 1, "visible": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.views_per_ring > PER_RING:
            raise UserError(f"--views_per_ring must be at most {PER_RING}, got {self.views_per_ring}")
        if self.palette not in PALETTES:
            raise UserError(f"--palette must be one of {', '.join(PALETTES)}, got {self.palette}")
        if self.visible > MOST_VISIBLE:
            raise UserError(f"--visible must be at most {MOST_VISIBLE}, got {self.visible}")
        if not 2.0 <= self.distance <= 10.0:
            raise UserError(f"--distance must be between 2 and 10 units, got {self.distance}")


@dataclass(frozen=True)
class Query:
    """A test picture to be made: the object, where from, and the mask."""

    parts: list[Part]
    pose: Pose
    mask: Bool[np.ndarray, "h w"] | None = field(default=None)


def write_synthetic_class(out: Path, config: SyntheticConfig) -> Path:
    """Renders `out/<name>` in MAD-Sim's layout, with transforms_test.json; pictures that are there already are kept.

    Raises UserError when Mitsuba is missing, or when the folder holds a class made with other settings.
    """
    root = out / config.name
    _claim(root, config)
    parts = build_animal(config.seed, PALETTES[config.palette])
    renderer = Renderer(config.size, config.samples)
    _log.info("%s: rendering with Mitsuba, variant %s", root, renderer.variant)
    scene = renderer.scene(merge(parts), Light())
    rig = rig_poses(config.distance, config.views_per_ring)
    for number, pose in enumerate(rig):
        path = root / "train" / GOOD / f"{number}.png"
        if not path.exists():
            write_png(path, renderer.picture(scene, pose, number))
    write_json(root / "transforms.json", _transforms({f"train/good/{n}": pose for n, pose in enumerate(rig)}), None)
    _log.info("%s: %d training pictures", root, len(rig))
    done, test = _finished(root), {}
    for kind in (*DEFECTS, GOOD):
        for number in range(config.good if kind == GOOD else config.defects):
            name = f"test/{kind}/{number}"
            test[name] = done[name] if name in done else _write_query(root, renderer, parts, config, kind, number)
        _log.info("%s: test/%s", root, kind)
    write_json(root / "transforms_test.json", _transforms(test), None)
    return root


def rig_poses(distance: float, views_per_ring: int = PER_RING) -> list[Pose]:
    """MAD-Sim's cameras, looking at the origin; with fewer views a ring, places of the full rig, staggered by ring."""
    poses = []
    for ring in range(RINGS):
        for view in range(views_per_ring):
            place = PER_RING * view // views_per_ring + (ring if views_per_ring < PER_RING else 0)
            azimuth = 2 * math.pi * place / PER_RING
            poses.append(look_at(azimuth, math.radians(TOP_ELEVATION_DEG - RING_STEP_DEG * ring), distance))
    return poses


def look_at(azimuth_rad: float, elevation_rad: float, distance: float, target: tuple[float, ...] = (0, 0, 0)) -> Pose:
    """world_from_camera in Blender axes of an upright camera on a sphere about `target`."""
    ca, sa, ce, se = (f(x) for x in (azimuth_rad, elevation_rad) for f in (math.cos, math.sin))
    back, right = np.array([ce * ca, ce * sa, se]), np.array([-sa, ca, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = np.array(target) + distance * back
    return pose


def defect_mask(good: Surface, bad: Surface, size: int) -> Bool[np.ndarray, "size size"]:
    """The pixels of which more than a quarter shows another point or color than the good object does."""
    return resize_mask(changed(good, bad), size, size)


def visible_share(good: Surface, bad: Surface, mask: Bool[np.ndarray, "h w"], levels: int) -> float:
    """The share of the mask's pixels whose color changes by more than `levels`, noise and soft shading left out."""
    difference = np.abs(_pixels(good, mask) - _pixels(bad, mask)).max(-1)
    return float((difference[mask] > levels / 255).mean())


def _pixels(surface: Surface, mask: np.ndarray) -> Float[np.ndarray, "h w 3"]:
    """Unlit colors on white at the size of `mask`."""
    nothing = (surface.points == 0).all(-1, keepdims=True)
    return cv2.resize(np.where(nothing, 1.0, surface.colors), mask.shape[::-1], interpolation=cv2.INTER_AREA)


def _write_query(
    root: Path, renderer: Renderer, parts: list[Part], config: SyntheticConfig, kind: str, number: int
) -> Pose:
    """Draws, renders and writes one test picture; its pose. Depends on the seed, the kind and the number only."""
    rng = np.random.default_rng([config.seed, 1 + [*DEFECTS, GOOD].index(kind), number])
    if kind == GOOD:
        query = Query(parts, free_pose(rng, config.distance))
    else:
        query = draw_defect(renderer, parts, config, kind, rng)
    path = root / "test" / kind / f"{number}.png"
    if not path.exists():
        light = Light(azimuth_deg=Light.azimuth_deg + config.light_turn_deg)
        scene = renderer.scene(merge(query.parts), light)
        write_png(path, renderer.picture(scene, query.pose, int(rng.integers(2**31)), config.gain))
    if query.mask is not None:
        write_png(root / "ground_truth" / kind / f"{number}_mask.png", 255 * query.mask.astype(np.uint8))
    return query.pose


def _finished(root: Path) -> dict[str, Pose]:
    """The poses of the test pictures that an earlier run has finished: those whose files are all there."""
    path = root / "transforms_test.json"
    frames = read_transforms(path) if path.is_file() else {}
    done = {name: frame for name, frame in frames.items() if all(file.is_file() for file in _files_of(root, name))}
    return {name: frame.world_from_camera.numpy() for name, frame in done.items()}


def _files_of(root: Path, name: str) -> list[Path]:
    """The picture of a test frame, and its mask."""
    _, kind, number = name.split("/")
    masks = [] if kind == GOOD else [root / "ground_truth" / kind / f"{number}_mask.png"]
    return [root / f"{name}.png", *masks]


def draw_defect(
    renderer: Renderer, parts: list[Part], config: SyntheticConfig, kind: str, rng: np.random.Generator
) -> Query:
    """A defect and a viewpoint that shows it on a number of pixels within _AREAS."""
    least, most = (area * (config.size / 200) ** 2 for area in _AREAS[kind])
    good = renderer.scene(merge(parts), Light())
    while True:
        bad_parts = DEFECTS[kind](parts, rng)
        bad = renderer.scene(merge(bad_parts), Light())
        for pose in _poses(rng, config.distance, _TRIES_PER_DEFECT):
            seen = changed(renderer.surface(good, pose, 1), renderer.surface(bad, pose, 1)).sum()
            if not 0.7 * least <= seen <= 1.3 * most:
                continue
            surfaces = [renderer.surface(scene, pose, SUBSAMPLES) for scene in (good, bad)]
            mask = defect_mask(surfaces[0], surfaces[1], config.size)
            if (
                least <= mask.sum() <= most
                and visible_share(surfaces[0], surfaces[1], mask, config.visible) > _VISIBLE_SHARE
            ):
                return Query(bad_parts, pose, mask)


def _poses(rng: np.random.Generator, distance: float, count: int) -> Iterator[Pose]:
    for _ in range(count):
        yield free_pose(rng, distance)


def free_pose(rng: np.random.Generator, distance: float) -> Pose:
    """Anywhere within 80 degrees of the horizon, uniform on the sphere, a little nearer or farther and off center."""
    elevation = math.asin(rng.uniform(-1, 1) * math.sin(math.radians(80)))
    target = rng.uniform(-0.03, 0.03, 3)
    return look_at(rng.uniform(0, 2 * math.pi), elevation, distance * rng.uniform(0.96, 1.05), tuple(target))


def _claim(root: Path, config: SyntheticConfig) -> None:
    """Writes the settings beside the class; refuses to mix two classes. The number of test pictures may change."""
    path, settings = root / "synthetic.json", asdict(config)
    if path.is_file():
        found = read_json(path)
        differing = [k for k in settings if k not in ("good", "defects") and found.get(k) != settings[k]]
        if differing:
            raise UserError(f"{root} holds a class made with another {', '.join(differing)}; remove it or change --out")
    write_json(path, settings)


def _transforms(poses: dict[str, Pose]) -> dict[str, Any]:
    frames = [{"file_path": name, "transform_matrix": pose.tolist()} for name, pose in poses.items()]
    return {"camera_angle_x": CAMERA_ANGLE_X_RAD, "frames": frames}


def write_png(path: Path, picture: UInt8[np.ndarray, "h w *c"]) -> None:
    """Writes a picture, RGB or gray, atomically."""
    channels = picture[..., ::-1] if picture.ndim == 3 else picture
    write_bytes(path, encoded(".png", channels, [cv2.IMWRITE_PNG_COMPRESSION, 9]))
