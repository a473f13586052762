"""A result folder as it is shown: the model, the cameras around it, and every picture with what was decided."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gaussian_splatting.background import WHITE_BACKDROP, Color
from gaussian_splatting.camera import Camera
from gaussian_splatting.views import View
from PAD_utils.data.mad import ClassData, Sample, load_class
from PAD_utils.data.photographs import QuerySetting, list_photographs, load_queries
from PAD_utils.data.transforms import some
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import MAPS_FOLDER, ImageRow, map_path, read_map, read_table
from PAD_utils.files import read_json
from PAD_utils.inspect_config import saved_config
from PAD_utils.inspector_files import read_inspector
from PAD_utils.report.cards import ReportImage
from PAD_utils.report.scene import Scene
from PAD_utils.run.conclude_inspection import chosen
from PAD_utils.run.config import INSPECTIONS, RunConfig
from PAD_utils.run.steps import INSPECTOR, source_of
from PAD_utils.score.regions import Region

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run left behind: the scene of its report, the pictures in the order of `scene.taken`, the training views
    in that of `scene.gallery`, the threshold (None: there was none) and the color of the backdrop in [0, 1]."""

    title: str
    scene: Scene
    images: Sequence[ReportImage]
    gallery: Sequence[View]
    threshold: float | None
    backdrop: Color


def read_result(folder: Path, data_path: Path | None, device: torch.device) -> Result:
    """Reads a result folder, and the pictures from where the run took them, or from another `data_path`.

    Raises UserError, naming the file and the mend, when something is missing or does not belong to the others.
    """
    config = _config(folder, data_path)
    saved = read_inspector(_model_folder(folder, config) / INSPECTOR, device)
    setting = saved_config(saved.config)
    data = load_class(config.data_path, config.classname, source=source_of(config))
    if data.world != setting.world:
        raise UserError(f"the training views in {data.root} are not those of the model in {folder}; run again")
    table = read_table(folder / "images.csv")
    rows = chosen(table)
    if len(rows) < len(table):
        log.info("%d of %d pictures are shown: those that the report shows", len(rows), len(table))
    pictures = _pictures(config, data, rows)
    try:
        images, cameras = _images(folder, rows, pictures, setting.world.inward)
        decision = read_json(folder / "metrics.json")["decision"]
        threshold = decision and float(decision["threshold"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} was changed since the run ({type(error).__name__}: {error}); run again") from error
    scene = Scene(saved.gaussians, [view.camera for view in data.gallery], cameras)
    return Result(
        f"{config.classname}: {folder}",
        scene,
        images,
        data.gallery,
        threshold,
        (setting.backdrop or WHITE_BACKDROP).color,
    )


def _config(folder: Path, data_path: Path | None) -> RunConfig:
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no result folder (it holds no run.json); give one that a finished run left")
    try:
        config = RunConfig.from_json(read_json(folder / "run.json")["configuration"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / 'run.json'} was written by another version ({error}); run again") from error
    return config if data_path is None else replace(config, data_path=data_path)


def _model_folder(folder: Path, config: RunConfig) -> Path:
    """Where the model lies, also of a folder that was moved since."""
    if config.model is not None:
        return config.model
    return folder.parent.parent if config.images is not None and folder.parent.name == INSPECTIONS else folder


def _pictures(config: RunConfig, data: ClassData, rows: Sequence[ImageRow]) -> dict[str, Sample]:
    """The pictures of the rows by key; what is not there any more is named."""
    if config.images is None:
        found = {sample.key: sample for sample in data.test}
    else:
        asked = {row.key for row in rows}
        photographs = [photograph for photograph in list_photographs(config.images) if photograph.key in asked]
        found = {s.key: s for s in load_queries(photographs, QuerySetting.of(data, source_of(config)))}
    gone = [row.key for row in rows if row.key not in found]
    if gone:
        log.warning("%d of %d pictures are not there any more and are left out: %s", len(gone), len(rows), some(gone))
    return found


def _images(
    folder: Path, rows: Sequence[ImageRow], pictures: dict[str, Sample], inward: Callable[[Tensor], Tensor]
) -> tuple[list[ReportImage], list[Camera]]:
    """What is known of each picture, and the camera that took it in the model's world."""
    poses, regions = read_json(folder / "poses.json"), read_json(folder / "regions.json")
    images, cameras = [], []
    for row in rows:
        if row.key not in pictures:
            continue
        sample, matrix = pictures[row.key], torch.tensor(poses[row.key]["world_from_camera"], dtype=torch.float64)
        cameras.append(sample.intrinsics.at_blender(inward(matrix), row.key))
        heat = read_map(map_path(folder / MAPS_FOLDER, row.defect, row.name))
        found = [Region(**region) for region in regions[row.key]]
        judged = row.defect, row.name, row.label, row.score, row.decision
        images.append(ReportImage(*judged, sample.photograph.numpy(), anomaly_map=heat, regions=found))
    return images, cameras
