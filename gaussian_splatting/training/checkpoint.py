"""Interrupted training goes on where it was: the whole state, tied to the configuration and the pictures."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.files import replacing
from gaussian_splatting.tensor_files import load_torch, torch_bytes
from gaussian_splatting.training.alignment import Shifts
from gaussian_splatting.training.exposure import Exposures
from gaussian_splatting.training.state import TrainingState
from gaussian_splatting.views import View

log = logging.getLogger(__name__)

Record = dict[str, int | float]  # one line of a training history

_FORMAT = 5
_STATE = ("params", "exp_avg", "exp_avg_sq", "adam_step", "grad2d_sum", "grad2d_count")


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: the state after `iteration` steps, exposures and shifts of its views, the seconds
    spent, the history so far, and what was warned of when it began."""

    state: TrainingState
    exposures: Exposures
    shifts: Shifts
    iteration: int
    seconds: float
    history: list[Record]
    warned: list[str]


def fingerprint(config: dict[str, Any], seed: int, views: Sequence[View]) -> str:
    """A hash of all that decides the result: configuration, seed, names, cameras and (every eighth pixel of) the
    pictures."""
    digest = hashlib.sha256(json.dumps([_FORMAT, config, seed], sort_keys=True).encode())
    for view in views:
        c = view.camera
        digest.update(repr((view.name, c.width, c.height, c.fx, c.fy, c.cx, c.cy)).encode())
        digest.update(c.cam_from_world.numpy().tobytes())
        digest.update(view.image[::8, ::8].contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, checkpoint: Checkpoint, run: str) -> None:
    """Writes the checkpoint of the run with this fingerprint, whole or not at all."""
    content = {
        "run": run,
        "iteration": checkpoint.iteration,
        "seconds": checkpoint.seconds,
        "history": checkpoint.history,
        "warned": checkpoint.warned,
        "exposures": checkpoint.exposures.as_dict(),
        "shifts": checkpoint.shifts,
        "state": {name: getattr(checkpoint.state, name) for name in _STATE},
    }
    with replacing(path) as temporary:
        temporary.write_bytes(torch_bytes(content))


def load_checkpoint(path: Path, run: str, device: torch.device) -> Checkpoint | None:
    """The checkpoint at `path`, or None, with a warning, if it is damaged or belongs to another run."""
    if not Path(path).exists():
        return None
    try:
        content = load_torch(path, device)
        if content["run"] != run:
            log.warning("%s belongs to another configuration or other pictures: training starts anew", path)
            return None
        state = TrainingState(**content["state"])
        exposures, shifts = Exposures.from_dict(content["exposures"]), content["shifts"].cpu()
        rest = (content[name] for name in ("iteration", "seconds", "history", "warned"))
        return Checkpoint(state, exposures, shifts, *rest)
    except Exception as error:  # a file that was cut or damaged may be wrong in any way
        log.warning("%s is damaged (%s): training starts anew", path, error)
        return None
