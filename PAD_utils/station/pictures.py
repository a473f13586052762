"""The pictures that a page shows of a part, in a folder of its own. Their places follow from ids that we made."""

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from gaussian_splatting.images import encoded
from gaussian_splatting.parallel import parallel
from PAD_utils.files import write_bytes
from PAD_utils.station.parts import KINDS, Judged

_QUALITY = 88  # of JPEG
_PATIENCE_S = 20.0
_FAST = 1  # of PNG's nine levels of compression


class Pictures:
    """The folders of all parts below one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._under_way: dict[str, threading.Event] = {}

    def announce(self, ids: Sequence[str]) -> None:
        """Says that `write` will follow for these parts, before anybody may ask for their pictures."""
        self._under_way |= {id: threading.Event() for id in ids}

    def wait_for(self, id: str) -> None:
        """Returns once the pictures of a part are no longer under way."""
        if (written := self._under_way.get(id)) is not None:
            written.wait(_PATIENCE_S)

    def of(self, id: str) -> Path:
        """The folder of a part, by an id from the database or of our own making."""
        return self.folder / id

    def path(self, id: str, index: int, kind: str) -> Path:
        """The picture of `KINDS` of one photograph."""
        return self.of(id) / f"{index}_{KINDS[kind]}"

    def write(self, judged: Sequence[Judged]) -> None:
        """Writes photograph, rendering and heat map of each photograph, at the size at which they were compared."""
        try:
            parallel(lambda of: self._write(*of), [(one, i) for one in judged for i in range(len(one.verdicts))])
        finally:
            for one in judged:
                self._under_way.pop(one.part.id).set()

    def _write(self, judged: Judged, index: int) -> None:
        verdict = judged.verdicts[index]
        # Every inspector made the same photograph of it; they differ in the lens.
        taken = next(iter(judged.part.photographs[index].taken.values()))
        if judged.classname is not None:
            taken = judged.part.photographs[index].taken[judged.classname]
        shown = {
            "photograph": _jpeg(taken.photograph.numpy()),
            "rendering": _jpeg(verdict.rendering.numpy()),
            "heat": _heat(verdict.map.numpy(), judged.threshold),
        }
        for kind, content in shown.items():
            write_bytes(self.path(judged.part.id, index, kind), content)

    def remove(self, ids: Sequence[str]) -> None:
        """Removes the folders of these parts."""
        for id in ids:
            shutil.rmtree(self.of(id), ignore_errors=True)

    def remove_unknown(self, known: set[str]) -> None:
        """Removes what was begun for parts that never got their answer."""
        if self.folder.is_dir():
            self.remove([path.name for path in self.folder.iterdir() if path.is_dir() and path.name not in known])


def _heat(scores: Float[np.ndarray, "h w"], threshold: float | None) -> bytes:
    """A score map in color: black up to half the threshold and brightest at one and a half; without a threshold from 0
    to the maximum."""
    low, high = (0.0, float(scores.max())) if threshold is None else (0.5 * threshold, 1.5 * threshold)
    gray = np.clip(np.nan_to_num(scores - low) * (255 / max(1e-12, high - low)), 0, 255).astype(np.uint8)
    return encoded(".png", cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), [cv2.IMWRITE_PNG_COMPRESSION, _FAST])


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    return encoded(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
