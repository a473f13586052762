"""Pose benchmarks as others have published them: start poses drawn as they drew them, figures counted as they count."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gaussian_splatting.camera import Camera
from gaussian_splatting.geometry import rigid, rigid_inverse, so3_exp
from gaussian_splatting.world import World
from PAD_utils.data.mad import Sample
from PAD_utils.evaluate.pose_metrics import PoseError, pose_error
from PAD_utils.pose.localize import localize
from PAD_utils.pose.retrieval import Retriever
from PAD_utils.report.published import published
from PAD_utils.run.job import Job
from PAD_utils.run.steps import Model, make_refiner, make_retriever

log = logging.getLogger(__name__)

UNITS = 4.0  # distances of camera centers are divided by this, the cameras' distance in NeRF-synthetic
SUCCESS_DEG, SUCCESS_SHARE = 5.0, 0.05
_SEED = 0  # of the published draws
_UNLIKE = 1.25  # cameras this many times nearer or further than NeRF-synthetic's are another benchmark

Offset = tuple[np.ndarray, np.ndarray]  # a turn (axis times rad) and a shift (units), in the camera's own axes


def _draw_gsfeatloc(rng: np.random.Generator) -> list[Offset]:
    """GSFeatLoc (arXiv 2504.20379), its program at 66e87c9: both axes from the positive octant, sizes N(0, 12.10
    degrees) and N(0, 0.87 units), with either sign."""
    turn, shift = (axis / np.linalg.norm(axis) for axis in (rng.random(3), rng.random(3)))
    angle, length = rng.normal(0, 12.10), rng.normal(0, 0.87)
    return [(math.radians(angle) * turn, length * shift)]


def _draw_chen(rng: np.random.Generator) -> list[Offset]:
    """Chen et al. (ICRA 2024), as GSFeatLoc describes it: five starts, turned by U(10, 40) degrees and shifted by U(0,
    0.2) units, along directions that are uniform on the sphere. Their own draws are not published."""
    offsets = []
    for _ in range(5):
        turn, shift = (axis / np.linalg.norm(axis) for axis in (rng.normal(size=3), rng.normal(size=3)))
        offsets.append((math.radians(rng.uniform(10, 40)) * turn, rng.uniform(0, 0.2) * shift))
    return offsets


PROTOCOLS: dict[str, Callable[[np.random.Generator], list[Offset]]] = {
    "gsfeatloc": _draw_gsfeatloc,
    "chen": _draw_chen,
}


@dataclass
class _FromStart:
    """The pose that a picture's camera has already is its start: the only hypothesis, or one beside those of a
    retriever."""

    others: Retriever | None
    name: str = "start"

    def hypotheses(self, images: torch.Tensor, cameras: Sequence[Camera], count: int) -> list[list[Camera]]:
        """See `Retriever`; with `others` one more than `count`."""
        if self.others is None:
            return [[camera] for camera in cameras]
        found = self.others.hypotheses(images, cameras, count)
        return [[*beside, camera] for beside, camera in zip(found, cameras, strict=True)]


def draw_starts(protocol: str, samples: Sequence[Sample], world: World) -> list[list[Camera]]:
    """Start poses of every sample, whose true pose must be known.

    Drawn per frame of transforms_test.json in the order of the file. Where all names are r_<number>, the number is the
    place in that order, so that a part of a scene's pictures gets the published starts.
    """
    numbers = [re.fullmatch(r"r_(\d+)", sample.name) for sample in samples]
    places = [i if m is None or not all(numbers) else int(m[1]) for i, m in enumerate(numbers)]
    rng = np.random.default_rng(_SEED)
    drawn = [PROTOCOLS[protocol](rng) for _ in range(max(places) + 1)]
    return [
        [_moved(sample.camera, offset, world) for offset in drawn[place]]
        for sample, place in zip(samples, places, strict=True)
        if sample.camera is not None
    ]


def run_protocol(job: Job, model: Model, samples: list[Sample], protocol: str) -> dict[str, Any]:
    """The rows of the protocol for one class, ready for JSON: from the given start beside the retriever's first poses,
    from it alone, and from nothing. One picture at a time; seconds from the start pose, or the picture, to the pose.
    """
    _warn_of_other_units(samples, model.world)
    starts = draw_starts(protocol, samples, model.world)
    retriever = make_retriever(job, model)
    blank = [[sample.intrinsics] for sample in samples]
    ways: list[tuple[str, str, Retriever, list[list[Camera]]]] = [
        (f"given, beside {job.config.hypotheses} of {retriever.name}", "given", _FromStart(retriever), starts),
        ("given, alone", "given", _FromStart(None), starts),
        (f"none, {job.config.hypotheses} of {retriever.name}", "none", retriever, blank),
    ]
    rows = []
    for text, start, some, begun in ways:
        figures = _measure(job, model, samples, some, begun)
        rows.append({"method": f"ours, {job.config.refiner}", "start": start, "hypotheses": text, **figures})
    return {"protocol": protocol, "class": job.config.classname, "units": UNITS, "rows": rows}


def _measure(
    job: Job, model: Model, samples: list[Sample], retriever: Retriever, starts: list[list[Camera]]
) -> dict[str, Any]:
    k, refiner = job.config.hypotheses, make_refiner(job, model)

    def found(sample: Sample, start: Camera) -> tuple[PoseError, float, bool]:
        here = localize(model.gaussians, sample.image[None], [start], retriever, refiner, k)
        seconds, estimate = here.seconds_retrieve + here.seconds_refine, here.estimates[0]
        assert sample.camera is not None
        pose, true = (model.world.outward(camera.to_blender()) for camera in (estimate.camera, sample.camera))
        return pose_error(pose, true), seconds, estimate.converged

    found(samples[0], starts[0][0])  # kernels are compiled and models simplified once, not per picture
    each = [(sample.key, *found(sample, start)) for sample, some in zip(samples, starts, strict=True) for start in some]
    turns = np.array([error.rotation_deg for _, error, *_ in each])
    shifts = np.array([error.translation / UNITS for _, error, *_ in each])
    near, close = turns < SUCCESS_DEG, shifts < SUCCESS_SHARE
    return {
        "n": len(each),
        "success": float((near & close).mean()),
        "rotation_success": float(near.mean()),
        "translation_success": float(close.mean()),
        "rotation_deg": _spread(turns),
        "translation": _spread(shifts),
        "seconds": _spread(np.array([seconds for _, _, seconds, _ in each])),
        "not_converged": sum(not converged for *_, converged in each),
        "pictures": [[key, error.rotation_deg, error.translation / UNITS] for key, error, *_ in each],
    }


def protocol_table(result: dict[str, Any]) -> str:
    """Our rows and the published ones as text."""
    theirs = published()["protocols"][result["protocol"]]
    header = "method|start|success|R < 5 deg|T < 0.05|R/deg mean|median|T mean|median|s mean|median".split("|")
    rows = [tuple(header), *(_cells(row) for row in (*result["rows"], *theirs["rows"]))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    count = result["rows"][0]["n"]
    about = (
        f"ours: {result['class']}, {count} starts; distances in units of {UNITS:g}; failures count in the means",
        f"the others: {theirs['scenes']} ({theirs['source']})",
    )
    return "\n".join((*lines, *about))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def share(key: str) -> str:
        return f"{100 * row[key]:.2f} %" if row.get(key) is not None else "-"

    def pair(key: str, digits: int) -> tuple[str, str]:
        value = row.get(key)
        figures = (value["mean"], value["median"]) if isinstance(value, dict) else (value, None)
        mean, median = ("-" if figure is None else f"{figure:.{digits}f}" for figure in figures)
        return mean, median

    shares = share("success"), share("rotation_success"), share("translation_success")
    figures = (*pair("rotation_deg", 4), *pair("translation", 5), *pair("seconds", 4))
    return row["method"], row.get("hypotheses", row["start"]), *shares, *figures


def _moved(camera: Camera, offset: Offset, world: World) -> Camera:
    """The camera after `true @ shift @ turn` of its pose, in its own (OpenCV) axes."""
    turn, shift = (torch.tensor(vector, dtype=torch.float64) for vector in offset)
    true_from_start = rigid(so3_exp(turn), shift * world.scale)
    return camera.moved(rigid_inverse(true_from_start) @ camera.cam_from_world.double())


def _warn_of_other_units(samples: Sequence[Sample], world: World) -> None:
    eyes = torch.stack([sample.camera.center for sample in samples if sample.camera is not None])
    distance = eyes.norm(dim=1).median().item() / world.scale
    if not UNITS / _UNLIKE < distance < UNITS * _UNLIKE:
        log.warning(
            "the cameras stand %.3g units from the object, those of NeRF-synthetic 4: the protocol's offsets mean "
            "something else here",
            distance,
        )


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"mean": float(values.mean()), "median": float(np.median(values)), "max": float(values.max())}
