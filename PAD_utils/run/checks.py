"""What a run will need, fetched or refused before hours of work instead of after them."""

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from gaussian_splatting.training.schedule import BUDGET_POWER, TrainConfig
from gaussian_splatting.views import View
from PAD_utils.data.mad import Sample
from PAD_utils.data.photographs import Photograph, QuerySetting, framed_size
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import MAPS_FOLDER, map_path
from PAD_utils.pose.loftr import load_loftr, warn_of_slowness
from PAD_utils.run.job import Job
from PAD_utils.run.tracking import load_wandb

_FLOAT = 4  # bytes
_CHECKPOINT_COPIES = 7  # parameters and Adam's two moments, the old file and the new one beside it, and the PLY
_GROWTH = 3  # the paper's density control: Gaussians in the end for each at the start, at most
_BANK_BYTES_PER_VIEW = 250_000
_REPORT_BYTES = 15_000_000
_HEADERS = 16  # of photographs that are looked at before the run


def check_needs(job: Job, gallery: list[View], map_pixels: int, retrievals: Collection[str | None]) -> None:
    """Raises UserError, naming the mend, when wandb, LoFTR (kornia, checkpoint) or disk space is missing."""
    if job.config.wandb:
        load_wandb()
    if "loftr" in retrievals:
        load_loftr(job.config.loftr_weights)
        warn_of_slowness(job.device, len(gallery))
    check_space(job.folder, needed_bytes(job, gallery, map_pixels))


def needed_bytes(job: Job, gallery: list[View], map_pixels: int) -> int:
    """What the run will write at most, roughly: model, checkpoint while it trains, bank, maps and report. `map_pixels`:
    of all maps together."""
    config, camera = job.config, gallery[0].camera
    training = TrainConfig.preset(config.preset, job.device.type, config.gauss_iters, config.sh_degree)
    pixels = camera.width * camera.height
    count = training.budget * pixels**BUDGET_POWER if training.budget else _GROWTH * training.start_count
    gaussians = count * _FLOAT * (11 + 3 * (training.sh_degree + 1) ** 2)
    maps = _FLOAT * map_pixels
    return round(gaussians * _CHECKPOINT_COPIES + len(gallery) * _BANK_BYTES_PER_VIEW + maps + _REPORT_BYTES)


def sample_pixels(samples: Sequence[Sample]) -> int:
    """Pixels of the maps of these pictures."""
    return sum(sample.image.shape[0] * sample.image.shape[1] for sample in samples)


def photograph_pixels(folder: Path, photographs: Sequence[Photograph], setting: QuerySetting) -> int:
    """Pixels of the maps that are not below `folder` yet, as far as the headers of some of the photographs tell."""
    todo = [p for p in photographs if not map_path(folder / MAPS_FOLDER, p.defect, p.name).exists()]
    sizes = [framed_size(photograph, setting) for photograph in todo[:: max(1, len(todo) // _HEADERS)]]
    known = [width * height for width, height in filter(None, sizes)]
    return round(len(todo) * sum(known) / len(known)) if known else 0


def check_space(folder: Path, needed: int) -> None:
    """Raises UserError unless `folder`, or the nearest above it that exists, may be written to and has the space."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be made or written to; choose another place with --output")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{folder} needs up to {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; free some space or choose "
            "another place with --output"
        )
