"""The 3D view of a report: the model with the heat of all pictures on it, and the cameras around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.camera import Camera, common_center
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.parallel import parallel
from PAD_utils.report.cards import CSS, ReportImage
from PAD_utils.report.pictures import heat_scale
from PAD_utils.report.splats import BYTES_AS_TEXT, Seen, colors_seen, pack
from PAD_utils.score.calibration import NOT_LOCALISED
from PAD_utils.score.on_model import on_model

MOST_GAUSSIANS = 120_000  # 2 MB; the page of 300 pictures has room for no more
_EDGE = 200  # px, of the pictures that colors and heat are learned from
_COLOR_VIEWS = 32
_HOT = 0.5  # heat that is worth showing at once
_PRIOR = 0.1  # of the pixels that a usual Gaussian covers: what hardly shows is no witness


@dataclass(frozen=True)
class Scene:
    """The good object, the cameras of the training views, and for each image of the report its camera, None where it
    has none; all in one world."""

    gaussians: Gaussians
    gallery: Sequence[Camera]
    taken: Sequence[Camera | None]

    @property
    def page_bytes(self) -> int:
        """What its Gaussians take of a page, about."""
        return BYTES_AS_TEXT * min(len(self.gaussians), MOST_GAUSSIANS)

    def views(self) -> list[Camera]:
        """Small cameras around the object: those of the training views, or of the pictures where there are none."""
        return [_small(camera) for camera in (self.gallery or [c for c in self.taken if c is not None])]

    def seen(self) -> Seen:
        """The mean color of each Gaussian, over some views."""
        views = self.views()
        return colors_seen(self.gaussians, views[:: max(1, len(views) // _COLOR_VIEWS)])

    def up(self) -> list[float]:
        """Where the cameras' up points on average, as a unit vector; z where they do not agree."""
        mean = -torch.stack([camera.cam_from_world[1, :3] for camera in self.views()]).mean(0)
        length = float(mean.norm())
        return (mean / length).tolist() if length > 0.1 else [0.0, 0.0, 1.0]

    def center(self) -> list[float]:
        """What the cameras look at."""
        return common_center(self.views()).tolist()


def scene_data(
    scene: Scene, images: Sequence[ReportImage], threshold: float | None, glaring: float | None
) -> dict[str, Any]:
    """What viewer/scene.js draws. `glaring` as in `heat_scale`."""
    color, pixels = scene.seen()
    heat = heat_on_model(scene, images, threshold, glaring)
    keep = pixels.argsort(descending=True)[:MOST_GAUSSIANS]
    return {
        "splats": pack(scene.gaussians[keep], color[keep], heat[keep]),
        "total": len(scene.gaussians),
        "hot": bool((heat > _HOT).any()),
        "center": scene.center(),
        "up": scene.up(),
        "gallery": [_placed(camera) for camera in scene.gallery],
        "taken": [
            {**_placed(camera), "card": i, "css": CSS[image.decision], "name": f"{image.defect}/{image.name}"}
            for i, (camera, image) in enumerate(zip(scene.taken, images, strict=True))
            if camera is not None
        ],
    }


def heat_on_model(
    scene: Scene, images: Sequence[ReportImage], threshold: float | None, glaring: float | None
) -> Float[Tensor, "n"]:
    """Per Gaussian the highest heat, in [0, 1], of all pictures that could be localized: how bright its pixels are in
    the heat map on average, pixels below the threshold taken as black, for they make no defect."""
    low, high = heat_scale([image.anomaly_map for image in images if image.anomaly_map is not None], glaring)
    floor = low if threshold is None else threshold

    def glow(seen: tuple[Camera | None, ReportImage]) -> tuple[Camera, np.ndarray] | None:
        """The small camera and the heat in its picture; None for most pictures, which have no heat."""
        camera, image = seen
        if camera is None or image.anomaly_map is None or image.decision == NOT_LOCALISED:
            return None
        if image.anomaly_map.max() <= floor:
            return None
        small = _small(camera)
        bright = ((image.anomaly_map - low) / (high - low)).clip(0, 1).astype(np.float32) * (image.anomaly_map > floor)
        return small, cv2.resize(bright, (small.width, small.height), interpolation=cv2.INTER_AREA)

    heat = scene.gaussians.means.new_zeros(len(scene.gaussians))
    for seen in parallel(glow, zip(scene.taken, images, strict=True)):
        if seen is not None:
            found = on_model(scene.gaussians, [seen[0]], [torch.from_numpy(seen[1])])
            usual = float(found.pixels.square().sum() / found.pixels.sum().clamp_min(1e-9))
            heat = torch.maximum(heat, found.mean(max(_PRIOR * usual, 1e-9)))
    return heat


def _small(camera: Camera) -> Camera:
    share = min(1.0, _EDGE / max(camera.width, camera.height))
    return camera.resized(max(1, round(camera.width * share)), max(1, round(camera.height * share)))


def _placed(camera: Camera) -> dict[str, Any]:
    """A camera for the page: cam_from_world row by row, and the lens."""
    pose = [float(f"{value:.7g}") for value in camera.cam_from_world[:3].flatten().tolist()]
    lens = [camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]
    return {"pose": pose, "lens": [float(f"{value:.7g}") for value in lens]}
