"""The trained classes that a station serves, on one device."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gaussian_splatting.geometry import transformed
from gaussian_splatting.pose.gauss_newton import DISTANCE_STEP
from gaussian_splatting.pose.types import object_center
from gaussian_splatting.rendering import render
from PAD_utils.errors import UserError
from PAD_utils.inspector import Inspector, Verdict
from PAD_utils.pose.retrieval import BankRetriever
from PAD_utils.run.ledger import fingerprint_file
from PAD_utils.station.parts import Judged, Part
from PAD_utils.station.settings import Settings

log = logging.getLogger(__name__)

_FEW_PARTS = 4  # of one photograph each: pose/graph.py records searches of as many pictures
_DISTANCES = (1 / DISTANCE_STEP, 1.0, DISTANCE_STEP)  # times the usual one: of so far there are models of their own


@dataclass(frozen=True)
class Served:
    """A class, what judges it, and the fingerprint of that."""

    name: str
    inspector: Inspector
    fingerprint: str

    @property
    def longest_px(self) -> int:
        """Longer side of the pictures that training saw: larger photographs are shrunk to it, for the threshold holds
        for pictures like those."""
        return max(self.inspector.lens.width, self.inspector.lens.height)


class Models:
    """Judges parts; for one thread. Raises UserError for a class that is not trained."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self.device, self._batch = device, settings.limits.batch
        self.served = {name: _load(settings, name, device) for name in settings.classes}

    def warm_up(self) -> None:
        """Judges renderings of each class, of every number that will come at once: the first time takes longer. On a
        GPU the score is recorded then, and the second time the pose search, for every distance apart."""
        times, distances = (2, _DISTANCES) if self.device.type == "cuda" else (1, (1.0,))
        for served in self.served.values():
            for image in [_typical_picture(served.inspector, share) for share in distances]:
                for count in sorted({*range(1, self.at_once(0) + 1), self.at_once(self._batch)}):
                    for _ in range(times):
                        served.inspector.inspect_many([image] * count)

    def at_once(self, waiting: int) -> int:
        """How many parts to judge together while others wait. On a GPU a few, whose pose search is a recorded graph: of
        more the first would wait long, but where very many wait, they are all the sooner done. A CPU gains nothing."""
        if self.device.type != "cuda":
            return 1
        return self._batch if waiting >= self._batch else min(self._batch, _FEW_PARTS)

    def judge(self, parts: Sequence[Part]) -> list[Judged]:
        """One result per part, in order. Parts of a known class are judged together; one of several is judged as each,
        and is of the class whose model explains its photographs best."""
        found: dict[str, dict[str, list[Verdict]]] = {part.id: {} for part in parts}
        for served in self.served.values():
            own = [part for part in parts if served.name in part.classes]
            verdicts = iter(
                served.inspector.inspect_many(photo.taken[served.name] for part in own for photo in part.photographs)
            )
            for part in own:
                found[part.id][served.name] = [next(verdicts) for _ in part.photographs]
        return [self._judged(part, found[part.id]) for part in parts]

    def _judged(self, part: Part, verdicts: dict[str, list[Verdict]]) -> Judged:
        name = min(verdicts, key=lambda name: _unexplained(verdicts[name]))
        served = self.served[name]
        recognized = len(verdicts) == 1 or any(verdict.pose.converged for verdict in verdicts[name])
        threshold, world = served.inspector.calibration, served.inspector.config.world
        poses = [world.outward(verdict.pose.camera.to_blender()).tolist() for verdict in verdicts[name]]
        return Judged(
            part,
            name if recognized else None,
            served.fingerprint,
            None if threshold is None else threshold.threshold,
            verdicts[name],
            poses,
        )


def _unexplained(verdicts: Sequence[Verdict]) -> float:
    """How badly a model explains photographs, on average: 1 and more for those without a pose."""
    return sum(
        (0.0 if v.pose.converged else 1.0) + (1.0 if v.pose.unexplained is None else min(1.0, v.pose.unexplained))
        for v in verdicts
    )


def _load(settings: Settings, name: str, device: torch.device) -> Served:
    folder: Path = settings.run_of(name).folder / "inspector"
    if not (folder / "inspector.json").is_file():
        raise UserError(
            f"{name} is not trained: {folder} holds no inspector; train it first, by "
            f"python train_and_render.py -c {name} -data_path {settings.data_path} -p {settings.prefix}"
        )
    served = Served(name, Inspector.load(folder, device=device), fingerprint_file(folder / "inspector.json"))
    calibration = served.inspector.calibration
    threshold = "no threshold, so no decisions" if calibration is None else f"threshold {calibration.threshold:.3g}"
    log.info("%s: %d Gaussians, %s, on %s", name, len(served.inspector.gaussians), threshold, device)
    return served


@torch.no_grad()
def _typical_picture(inspector: Inspector, share: float) -> torch.Tensor:
    """What the model looks like from somewhere, as far away as `share` of what is usual, uint8 (h, w, 3)."""
    camera = inspector.lens.camera()
    if isinstance(inspector.retriever, BankRetriever):
        pose = inspector.retriever.bank.cam_from_world[0].double().cpu()
        center = transformed(pose, object_center(inspector.gaussians).double().cpu())
        now = float(center.norm())
        pose[:3, 3] += (share * (inspector.usual_distance or now) / now - 1) * center
        camera = camera.moved(pose)
    image = render(inspector.gaussians, [camera], inspector.backdrop.color).image[0].nan_to_num().clamp(0, 1)
    return (image * 255).round().byte().permute(1, 2, 0).cpu()
