"""A folder of photographs to a class that train_and_render.py reads."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import parallel
from PAD_utils.data.layout import GOOD
from PAD_utils.errors import UserError
from PAD_utils.files import explaining, read_json, write_bytes, write_json
from PAD_utils.photos.background import BACKGROUNDS, copy_masks, find_background
from PAD_utils.photos.coverage import measured
from PAD_utils.photos.plate import solve_plate
from PAD_utils.photos.queries import RECORD
from PAD_utils.photos.report import Story, write_report
from PAD_utils.photos.sfm import Posed, Solution, load_pycolmap, read_model, solve
from PAD_utils.photos.shot import Shot
from PAD_utils.photos.source import SMALL_PX, Photo, copy_photos, find_photos, fingerprint, png_bytes, read_color
from PAD_utils.photos.world import normalizing

LENSES = ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoConfig:
    """How photographs become a class."""

    lens: str = "SIMPLE_RADIAL"
    longest_px: int = 1600  # longer pictures are shrunk to this
    background: str = "auto"
    masks: Path | None = None
    colmap: Path | None = None
    plate: bool = False

    def __post_init__(self) -> None:
        if self.longest_px < 64:
            raise UserError(f"--size must be at least 64 pixels, got {self.longest_px}")
        if self.plate and self.colmap is not None:
            raise UserError("--plate and --colmap both say where the poses come from; leave one of them out")
        if self.background not in BACKGROUNDS:
            raise UserError(f"--background must be one of {', '.join(BACKGROUNDS)}, got {self.background}")
        if self.lens not in LENSES:
            raise UserError(f"--lens must be one of {', '.join(LENSES)}, got {self.lens}")


def prepare_photos(photos: Path, out: Path, name: str, config: PhotoConfig) -> Path:
    """Writes the class `out/name` from the photographs in a folder; a class of the same photographs is kept as it is.

    Raises UserError: pycolmap is missing, a photograph cannot be read, nothing fits together, or the place holds
    another class.
    """
    load_pycolmap()
    paths = find_photos(photos)
    mark = fingerprint(paths, repr(config))
    root, work = out / name, out / f".{name}.{mark}.preparing"
    if _is_there(root, mark):
        _log.info("%s holds the class of these photographs already", root)
        return root
    with explaining(work):
        work.mkdir(parents=True, exist_ok=True)
    copies = copy_photos(paths, work / "photos", config.longest_px, raw=config.colmap is not None)
    masks = config.masks and copy_masks(config.masks, copies, work / "masks")
    solution = _solve(copies, work / "sfm", config, masks)
    _write_class(work / "class", name, solution, config, mark)
    with explaining(root):
        os.replace(work / "class", root)
        shutil.rmtree(work)
    _log.info("next: python train_and_render.py -data_path %s -c %s", out, name)
    return root


def _solve(photos: Sequence[Photo], work: Path, config: PhotoConfig, masks: Path | None) -> Solution:
    if config.colmap is not None:
        return read_model(config.colmap, photos)
    return solve_plate(photos) if config.plate else solve(photos, work, config.lens, masks)


def _is_there(root: Path, mark: str) -> bool:
    """Whether the class was made from these photographs. Raises UserError when something else is in its place."""
    if not root.exists():
        return False
    if not (root / RECORD).is_file():
        raise UserError(f"{root} is in the way and was not made by this program; choose another -c or --out")
    if read_json(root / RECORD)["fingerprint"] != mark:
        raise UserError(f"{root} was made from other photographs or options; remove it, or choose another -c")
    return True


def _write_class(root: Path, name: str, solution: Solution, config: PhotoConfig, mark: str) -> None:
    world = normalizing([posed.cam_from_world for posed in solution.posed], solution.up)
    cameras = [posed.lens.pinhole.moved(torch.from_numpy(world.pose(posed.cam_from_world))) for posed in solution.posed]
    shots = parallel(lambda pair: _write_shot(root, *pair), list(zip(solution.posed, cameras, strict=True)))
    background = find_background(shots, world.points(solution.points), config.background, config.masks)
    parallel(lambda pair: _add_alpha(root, *pair), list(zip(shots, background.alphas, strict=False)))
    write_json(root / "transforms.json", transforms([(f"train/{GOOD}/{s.name}.png", s.camera) for s in shots]))
    facts = [
        measured(s.name, s.camera.center.numpy() / float(s.camera.center.norm()), s.small, s.posed.error_px)
        for s in shots
    ]
    story = Story(name, facts, solution, background)
    write_report(root, story)
    write_json(root / RECORD, _record(solution, story, mark))


def _add_alpha(root: Path, shot: Shot, alpha: UInt8[np.ndarray, "h w"]) -> None:
    path = root / "train" / GOOD / f"{shot.name}.png"
    write_bytes(path, png_bytes(np.dstack([read_color(path)[..., :3], alpha])))


def _write_shot(root: Path, posed: Posed, camera: Camera) -> Shot:
    pixels = posed.lens.undistorted(posed.photo.pixels())
    write_bytes(root / "train" / GOOD / f"{posed.photo.name}.png", png_bytes(pixels))
    scale = min(1.0, SMALL_PX / max(pixels.shape[:2]))
    return Shot(posed, camera, area_resize(pixels, round(scale * pixels.shape[1]), round(scale * pixels.shape[0])))


def transforms(frames: Sequence[tuple[str, Camera]]) -> dict[str, Any]:
    """The content of a transforms.json: the intrinsics at its top, or in each frame where they differ."""
    common = len({tuple(_intrinsics(camera).values()) for _, camera in frames}) == 1
    entries = [
        {"file_path": path, **({} if common else _intrinsics(camera)), "transform_matrix": camera.to_blender().tolist()}
        for path, camera in frames
    ]
    return {**_intrinsics(frames[0][1]), "frames": entries}


def _intrinsics(camera: Camera) -> dict[str, float]:
    pixels = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
    return {"camera_angle_x": camera.camera_angle_x_rad, **pixels, "w": camera.width, "h": camera.height}


def _record(solution: Solution, story: Story, mark: str) -> dict[str, Any]:
    """What photos.json holds: the lenses, for query photographs, and what became of each photograph."""
    lenses = {id(posed.lens): posed.lens.camera for posed in solution.posed}
    return {
        "fingerprint": mark,
        "poses": solution.how,
        "cameras": [
            {"model": c.model_name, "width": c.width, "height": c.height, "params": c.params.tolist()}
            for c in lenses.values()
        ],
        "reprojection_error_px": solution.error_px,
        "registered": {p.photo.name: {"error_px": p.error_px, "points": p.n_points} for p in solution.posed},
        "lost": solution.lost,
        "background": story.background.description,
        "part_colors": story.background.colors,
        "covered_share": story.covered,
        "suggestions": story.advice,
    }
