"""Synthetic photographs as an engineer would take them, with exact truths: poses, lens, exposure and masks."""

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaussian_splatting.images import encoded
from PAD_utils.data.layout import GOOD
from PAD_utils.errors import UserError
from PAD_utils.files import read_json, write_bytes, write_json
from PAD_utils.synthetic import look_at
from PAD_utils.synthetic.animals import PALETTES, build_animal
from PAD_utils.synthetic.defects import DEFECTS
from PAD_utils.synthetic.render import changed
from PAD_utils.synthetic.shapes import Part, merge
from PAD_utils.synthetic.studio import EFFECTS, Studio, draw_exposure, photo_lens

TRUTH = "truth.json"
_RINGS_DEG = (17.0, 42.0)  # 20 photographs on each are 18 degrees apart
_DISTANCE = 3.2
_QUALITY = 85  # of JPEG
_AREAS = (0.0006, 0.02)  # of the picture: seen, but not huge
_VISIBLE_LEVELS, _VISIBLE_SHARE = 40, 0.5  # a defect changes half of its pixels by so many gray levels, unlit
_TRIES = 6  # viewpoints tried before another defect is drawn
_log = logging.getLogger(__name__)
Pose = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class PhotographicConfig:
    """What the photographs are like; equal settings make equal classes."""

    name: str = "01Photo"
    seed: int = 0
    palette: str = "colourful"
    width: int = 400  # pixels; the height is three quarters of it
    photos: int = 40
    good: int = 3
    defects: int = 3  # of each kind
    samples: int = 36  # per pixel
    effects: tuple[str, ...] = EFFECTS

    def __post_init__(self) -> None:
        for name, least in {"seed": 0, "width": 64, "photos": 3, "good": 0, "defects": 0, "samples": 1}.items():
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.palette not in PALETTES:
            raise UserError(f"--palette must be one of {', '.join(PALETTES)}, got {self.palette}")
        unknown = sorted(set(self.effects) - set(EFFECTS))
        if unknown:
            raise UserError(f"--effects knows no {', '.join(unknown)}; it has {', '.join(EFFECTS)}, all and none")


def write_photographs(out: Path, config: PhotographicConfig) -> Path:
    """Renders `out/<name>`: photos/, queries/<kind>/, query_masks/<kind>/, masks/ (the object) and truth.json.

    Photographs that are there already are kept, so a run that was cut off goes on.
    Raises UserError when Mitsuba is missing, or when the folder holds photographs made with other settings.
    """
    root = out / config.name
    _claim(root, config)
    set_ = _Set(root, config)
    frames = {}
    for number, pose in enumerate(photo_path(config)):
        frames[f"photos/{number:03d}"] = set_.take(f"photos/{number:03d}", set_.parts, pose, (1, number))
    for index, kind in enumerate((GOOD, *DEFECTS)):
        for number in range(config.good if kind == GOOD else config.defects):
            frames[f"queries/{kind}/{number:03d}"] = set_.query(kind, number, (2 + index, number))
        _log.info("%s: queries/%s", root, kind)
    write_json(root / TRUTH, {**asdict(set_.studio.lens), "frames": frames}, None)
    return root


def photo_path(config: PhotographicConfig) -> list[Pose]:
    """Two rings, world_from_camera in Blender axes; by hand (effect "path") they wander and have gaps."""
    by_hand = "path" in config.effects
    per_ring = [len(part) for part in np.array_split(np.arange(config.photos), len(_RINGS_DEG))]
    poses = []
    for ring, count in enumerate(per_ring):
        rng = np.random.default_rng([config.seed, 80, ring])
        start, gap = rng.uniform(0, 2 * math.pi), math.radians(50.0) if by_hand and ring == len(per_ring) - 1 else 0.0
        for azimuth in start + (2 * math.pi - gap) * np.arange(count) / count:
            poses.append(_held(rng, azimuth, _RINGS_DEG[ring], by_hand))
    return poses


class _Set:
    """The object on its table, and where its photographs go."""

    def __init__(self, root: Path, config: PhotographicConfig) -> None:
        self.root, self.config = root, config
        self.effects = frozenset(config.effects)
        self.parts = build_animal(config.seed, PALETTES[config.palette])
        floor = float(merge(self.parts).vertices[:, 2].min())
        lens = photo_lens(config.width, 3 * config.width // 4, self.effects)
        self.studio = Studio(lens, self.effects, floor, config.samples, config.seed)
        self._bare = self.studio.scene(merge(self.parts), surroundings=False)
        self._good = self.studio.scene(merge(self.parts))

    def take(self, name: str, parts: list[Part], pose: Pose, draw: tuple[int, int]) -> dict[str, Any]:
        """Takes one photograph; what is true of it, for truth.json."""
        rng = np.random.default_rng([self.config.seed, *draw])
        exposure, seed = draw_exposure(rng, self.effects), int(rng.integers(2**31))
        suffix = ".jpg" if "jpeg" in self.effects else ".png"
        if not (self.root / f"{name}{suffix}").exists():
            scene = self._good if parts is self.parts else self.studio.scene(merge(parts))
            picture = self.studio.photograph(scene, pose, exposure, seed)
            write_bytes(self.root / f"{name}{suffix}", _encoded(picture[..., ::-1], suffix))
        if name.startswith("photos/"):
            surface = self.studio.surface(self._bare, pose)
            self._write_mask(f"masks/{Path(name).name}", self.studio.mask((surface.points != 0).any(-1)))
        return {"transform_matrix": pose.tolist(), "gains": list(exposure.gains)}

    def query(self, kind: str, number: int, draw: tuple[int, int]) -> dict[str, Any]:
        """A photograph to judge, with the mask of its defect."""
        rng = np.random.default_rng([self.config.seed, 81, *draw])
        if kind == GOOD:
            return self.take(f"queries/{kind}/{number:03d}", self.parts, _anywhere(rng), draw)
        parts, pose, mask = next(self._defects(kind, rng))
        self._write_mask(f"query_masks/{kind}/{number:03d}", mask)
        return self.take(f"queries/{kind}/{number:03d}", parts, pose, draw)

    def _defects(
        self, kind: str, rng: np.random.Generator
    ) -> Iterator[tuple[list[Part], Pose, Bool[np.ndarray, "h w"]]]:
        """Defects with viewpoints that show them clearly, in a size within _AREAS."""
        while True:
            parts = DEFECTS[kind](self.parts, rng)
            scene = self.studio.scene(merge(parts), surroundings=False)
            for pose in (_anywhere(rng) for _ in range(_TRIES)):
                good, bad = (self.studio.surface(s, pose) for s in (self._bare, scene))
                differs = changed(good, bad)
                clear = (np.abs(good.colors - bad.colors).max(-1) > _VISIBLE_LEVELS / 255)[differs]
                mask = self.studio.mask(differs)
                if _AREAS[0] <= mask.mean() <= _AREAS[1] and clear.mean() > _VISIBLE_SHARE:
                    yield parts, pose, mask

    def _write_mask(self, name: str, mask: Bool[np.ndarray, "h w"]) -> None:
        if not (self.root / f"{name}.png").exists():
            write_bytes(self.root / f"{name}.png", _encoded(255 * mask.astype(np.uint8), ".png"))


def _anywhere(rng: np.random.Generator) -> Pose:
    """A query's viewpoint: any azimuth, at and between the rings' elevations."""
    return _held(rng, rng.uniform(0, 2 * math.pi), rng.uniform(_RINGS_DEG[0], _RINGS_DEG[-1]), True)


def _held(rng: np.random.Generator, azimuth_rad: float, elevation_deg: float, by_hand: bool) -> Pose:
    """A camera on a ring; by hand it is a little off in every respect."""
    if not by_hand:
        return look_at(azimuth_rad, math.radians(elevation_deg), _DISTANCE)
    azimuth, elevation = azimuth_rad + math.radians(rng.normal(0, 2)), math.radians(elevation_deg + rng.normal(0, 2.5))
    target = rng.uniform(-0.09, 0.09, 3)
    pose = look_at(azimuth, elevation, _DISTANCE * rng.uniform(0.92, 1.08), (target[0], target[1], target[2]))
    roll = math.radians(rng.normal(0, 3))
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    pose[:3, :3] = pose[:3, :3] @ turn
    return pose


def _claim(root: Path, config: PhotographicConfig) -> None:
    """Writes the settings beside the photographs; refuses to mix two sets."""
    path, settings = root / "photographic.json", {**asdict(config), "effects": list(config.effects)}
    if path.is_file():
        found = read_json(path)
        differing = [k for k in settings if k not in ("good", "defects") and found.get(k) != settings[k]]
        if differing:
            raise UserError(f"{root} holds photographs of another {', '.join(differing)}; remove it or change --out")
    write_json(path, settings)


def _encoded(pixels: UInt8[np.ndarray, "h w *c"], suffix: str) -> bytes:
    how = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    return encoded(suffix, pixels, how)
