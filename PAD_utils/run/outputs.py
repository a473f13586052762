"""The files that a run leaves behind; their names and content are a contract (docs/outputs.md)."""

import logging
import math
from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.geometry import check_rigid
from gaussian_splatting.pose.types import PoseEstimate
from gaussian_splatting.world import USERS_WORLD, World
from PAD_utils.files import read_checked_json, write_checked_json, write_json

log = logging.getLogger(__name__)


class PoseFile:
    """`poses.json`, and `poses.partial.json` while it grows, so that an interrupted run keeps what it has found.

    The partial file also carries the fingerprint of what the poses depend on and the seconds they took; another
    fingerprint starts anew. `cameras` gives the intrinsics of every picture by its key. Cameras stand in
    `world`, and in the user's in poses.json.
    """

    def __init__(self, folder: Path, fingerprint: str, cameras: dict[str, Camera], world: World = USERS_WORLD) -> None:
        self._world = world
        self._cameras = cameras
        self._path = folder / "poses.json"
        self._partial = folder / "poses.partial.json"
        self._fingerprint = fingerprint
        self.estimates: dict[str, PoseEstimate] = {}
        self.retrieve_seconds = self.refine_seconds = 0.0
        if self._partial.exists():
            self._go_on()

    def _go_on(self) -> None:
        """Takes over what an interrupted run has found. A damaged file costs time, never the run."""
        try:
            saved = read_checked_json(self._partial)
            if saved["fingerprint"] != self._fingerprint:
                return
            estimates = {key: restored_pose(entry, self._cameras[key]) for key, entry in saved["poses"].items()}
            seconds = float(saved["retrieve_seconds"]), float(saved["refine_seconds"])
        except Exception as error:  # a file that was edited or cut may be wrong in any way
            log.warning("%s is damaged (%s: %s): poses are found anew", self._partial, type(error).__name__, error)
            return
        self.estimates = estimates
        self.retrieve_seconds, self.refine_seconds = seconds

    def add(
        self, keys: list[str], estimates: list[PoseEstimate], retrieve_seconds: float, refine_seconds: float
    ) -> None:
        """Takes the estimates of some pictures and the seconds that they took together, and saves."""
        for key, estimate in zip(keys, estimates, strict=True):
            # Out and in again, as an interrupted run does: what follows sees the same bits either way.
            self.estimates[key] = restored_pose(kept_pose(estimate), self._cameras[key])
        self.retrieve_seconds += retrieve_seconds
        self.refine_seconds += refine_seconds
        content = {
            "fingerprint": self._fingerprint,
            "retrieve_seconds": self.retrieve_seconds,
            "refine_seconds": self.refine_seconds,
            "poses": {key: kept_pose(estimate) for key, estimate in self.estimates.items()},
        }
        write_checked_json(self._partial, content, indent=None)

    def finish(self, keys: list[str]) -> None:
        """Writes poses.json: per picture `world_from_camera` (Blender axes), cost, iterations, converged, reason."""
        estimates = {key: self.estimates[key] for key in keys}
        matrices = {
            key: self._world.outward(estimate.camera.to_blender()).tolist() for key, estimate in estimates.items()
        }
        write_json(
            self._path, {key: {"world_from_camera": matrices[key], **pose_facts(estimates[key])} for key in keys}
        )


def pose_facts(estimate: PoseEstimate) -> dict[str, Any]:
    """What poses.json says of a pose beside `world_from_camera`."""
    return {
        "cost": estimate.cost if math.isfinite(estimate.cost) else None,
        "iterations": estimate.iterations,
        "converged": estimate.converged,
        "reason": estimate.reason,
    }


def kept_pose(estimate: PoseEstimate) -> dict[str, Any]:
    """The pose as the refiner left it: its rotation is orthonormal to single precision only, so that turning it into
    `world_from_camera` and back would move the camera by 1e-7 each time. JSON itself keeps every bit."""
    return {"cam_from_world": estimate.camera.cam_from_world.tolist(), **pose_facts(estimate)}


def restored_pose(kept: dict[str, Any], camera: Camera) -> PoseEstimate:
    """The estimate that `kept_pose` took apart, of a camera with these intrinsics."""
    facts = dict(kept)
    pose = torch.tensor(facts.pop("cam_from_world"), dtype=torch.float64)
    check_rigid("a pose", pose)
    facts["cost"] = math.nan if facts["cost"] is None else facts["cost"]
    return PoseEstimate(camera.moved(pose), **facts)
