"""The files that a run leaves behind; their names and content are a contract (docs/outputs.md)."""

from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.pose import PoseEstimate
from PAD_utils.files import read_json, write_json


class PoseFile:
    """`poses.json`, and `poses.partial.json` while it grows, so that an interrupted run keeps what it has found.

    The partial file also carries the fingerprint of what the poses depend on and the seconds they took; another
    fingerprint starts anew. `cameras` gives the intrinsics of every picture by its key.
    """

    def __init__(self, folder: Path, fingerprint: str, cameras: dict[str, Camera]) -> None:
        self._cameras = cameras
        self._path = folder / "poses.json"
        self._partial = folder / "poses.partial.json"
        self._fingerprint = fingerprint
        self.estimates: dict[str, PoseEstimate] = {}
        self.retrieve_seconds = self.refine_seconds = 0.0
        saved = read_json(self._partial) if self._partial.exists() else {}
        if saved.get("fingerprint") == fingerprint:
            self.estimates = {key: _from_json(entry, cameras[key]) for key, entry in saved["poses"].items()}
            self.retrieve_seconds, self.refine_seconds = saved["retrieve_seconds"], saved["refine_seconds"]

    def add(
        self, keys: list[str], estimates: list[PoseEstimate], retrieve_seconds: float, refine_seconds: float
    ) -> None:
        """Takes the estimates of some pictures and the seconds that they took together, and saves."""
        for key, estimate in zip(keys, estimates, strict=True):
            # Through JSON and back: a pose is the same to the last bit whether it was kept in memory or read again.
            self.estimates[key] = _from_json(_to_json(estimate), self._cameras[key])
        self.retrieve_seconds += retrieve_seconds
        self.refine_seconds += refine_seconds
        content = {
            "fingerprint": self._fingerprint,
            "retrieve_seconds": self.retrieve_seconds,
            "refine_seconds": self.refine_seconds,
            "poses": self._poses(list(self.estimates)),
        }
        write_json(self._partial, content, indent=None)

    def finish(self, keys: list[str]) -> None:
        """Writes poses.json: per picture `world_from_camera` (Blender axes), cost, iterations, converged, reason."""
        write_json(self._path, self._poses(keys))

    def _poses(self, keys: list[str]) -> dict[str, Any]:
        return {key: _to_json(self.estimates[key]) for key in keys}


def _to_json(estimate: PoseEstimate) -> dict[str, Any]:
    return {
        "world_from_camera": estimate.camera.to_blender().tolist(),
        "cost": estimate.cost,
        "iterations": estimate.iterations,
        "converged": estimate.converged,
        "reason": estimate.reason,
    }


def _from_json(entry: dict[str, Any], camera: Camera) -> PoseEstimate:
    pose = torch.tensor(entry["world_from_camera"], dtype=torch.float64)
    posed = Camera.from_blender(pose, camera.camera_angle_x_rad, camera.width, camera.height)
    return PoseEstimate(posed, entry["cost"], entry["iterations"], entry["converged"], entry["reason"])
