"""Which stages of a run are done, and on what: so that the same command after an interruption goes on where it stopped.

A stage is taken as done only if its fingerprint - everything that its result depends on - is the one on record.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gaussian_splatting.camera import Camera
from gaussian_splatting.parallel import parallel
from gaussian_splatting.views import View
from PAD_utils.files import check_sum, read_bytes, read_checked_json, write_checked_json

log = logging.getLogger(__name__)

_fingerprints = WeakTensorKeyDictionary()


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-like values; equal exactly when they are."""
    return check_sum(json.dumps(parts, sort_keys=True, default=str).encode())


def fingerprint_pictures(pictures: Sequence[Tensor]) -> list[str]:
    """A short hash of each picture's pixels (uint8 (h, w, 3)), which do not change: each is hashed once."""
    new = [picture for picture in pictures if picture not in _fingerprints]
    hashed = parallel(lambda picture: hashlib.blake2b(picture.cpu().numpy().data, digest_size=12).hexdigest(), new)
    _fingerprints.update(zip(new, hashed, strict=True))
    return [_fingerprints[picture] for picture in pictures]


def fingerprint_file(path: Path) -> str:
    """A short hash of a file's content. Raises UserError when it cannot be read."""
    return check_sum(read_bytes(path))


def fingerprint_views(views: Sequence[View]) -> list[object]:
    """Names, cameras and pixels of views, as short text."""
    pixels = fingerprint_pictures([view.image for view in views])
    uncut = fingerprint_pictures([view.uncut for view in views if view.uncut is not None])
    return [*((v.name, describe_camera(v.camera), p) for v, p in zip(views, pixels, strict=True)), *uncut]


def describe_camera(camera: Camera) -> dict[str, object]:
    """Intrinsics and pose as plain values."""
    return {**vars(camera), "cam_from_world": camera.cam_from_world.tolist()}


class Ledger:
    """The file `state.json` of a run: for each finished stage its fingerprint and what later stages need of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "state.json"
        self._stages: dict[str, dict[str, Any]] = self._read() if self._path.exists() else {}

    def _read(self) -> dict[str, dict[str, Any]]:
        """A damaged file costs time, never the run."""
        try:
            return {
                stage: {"fingerprint": str(entry["fingerprint"]), "facts": dict(entry["facts"])}
                for stage, entry in read_checked_json(self._path).items()
            }
        except Exception as error:  # a file that was edited or cut may be wrong in any way
            log.warning("%s is damaged (%s: %s): all is done anew", self._path, type(error).__name__, error)
            return {}

    def find(self, stage: str, expected: str) -> dict[str, Any] | None:
        """What was recorded of the stage, or None when it has to be run: never finished, or finished on other input."""
        entry = self._stages.get(stage)
        if entry is None:
            return None
        if entry["fingerprint"] != expected:
            log.info("%s: configuration or data have changed since the last run, so it is done again", stage)
            return None
        log.info("%s: done by an earlier run with the same configuration and data, reused", stage)
        return dict(entry["facts"])

    def last(self, stage: str) -> dict[str, Any] | None:
        """What was recorded of the stage, on whatever input; None when it never finished."""
        entry = self._stages.get(stage)
        return None if entry is None else dict(entry["facts"])

    def fingerprint(self, stage: str) -> str | None:
        """What the stage was last finished on."""
        entry = self._stages.get(stage)
        return None if entry is None else str(entry["fingerprint"])

    def record(self, stage: str, fingerprint: str, facts: dict[str, Any]) -> None:
        """Marks the stage as finished. Written at once and whole."""
        self._stages[stage] = {"fingerprint": fingerprint, "facts": facts}
        write_checked_json(self._path, self._stages)
