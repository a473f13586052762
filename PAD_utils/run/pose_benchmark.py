"""How well are poses found: retrieval and refinement held against known poses, for any combination of the two."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.world import World
from PAD_utils.data.mad import Sample
from PAD_utils.errors import UserError
from PAD_utils.evaluate.pose_metrics import PoseError, pose_error, summarize
from PAD_utils.files import write_json, write_text
from PAD_utils.pose.localize import Localization, localize
from PAD_utils.report.pose_plot import recall_plot
from PAD_utils.run.config import REFINERS, RETRIEVALS
from PAD_utils.run.job import Job
from PAD_utils.run.steps import Model, make_refiner, make_retriever

_STAGES = ("coarse", "fine")


@dataclass(frozen=True)
class Combination:
    """A retrieval and a refiner, as on the command line: "bank+gauss-newton"."""

    retrieval: str
    refiner: str

    @staticmethod
    def parse(text: str) -> "Combination":
        """Raises UserError unless both parts are known."""
        retrieval, _, refiner = text.partition("+")
        if retrieval not in RETRIEVALS or refiner not in REFINERS:
            raise UserError(
                f"--combinations {text}: expected RETRIEVAL+REFINER, "
                f"of {', '.join(RETRIEVALS)} and {', '.join(REFINERS)}"
            )
        return Combination(retrieval, refiner)

    def __str__(self) -> str:
        return f"{self.retrieval}+{self.refiner}"


def posed(samples: list[Sample], name: str) -> list[Sample]:
    """The samples whose true pose is known. Raises UserError when there are none."""
    known = [sample for sample in samples if sample.camera is not None]
    if not known:
        raise UserError(
            f"{name} has no test views with known poses; make some with prepare_subset_lego_ad.py --task pose"
        )
    return known


def run_combination(job: Job, model: Model, samples: list[Sample], combination: Combination) -> dict[str, Any]:
    """Errors of the coarse and of the fine poses, seconds per picture of each, iterations; ready for JSON."""
    config = dataclasses.replace(job.config, retrieval=combination.retrieval, refiner=combination.refiner)
    job = dataclasses.replace(job, config=config)
    images = torch.stack([sample.image for sample in samples])
    cameras, retriever = [sample.intrinsics for sample in samples], make_retriever(job, model)
    refiner = make_refiner(job, model)
    found = localize(model.gaussians, images, cameras, retriever, refiner, config.hypotheses)
    coarse = _errors(found.coarse, samples, model.world)
    fine = _errors([estimate.camera for estimate in found.estimates], samples, model.world)
    return {
        "combination": str(combination),
        "coarse": summarize(coarse),
        "fine": summarize(fine),
        "not_converged": sum(not estimate.converged for estimate in found.estimates),
        "iterations_mean": sum(estimate.iterations for estimate in found.estimates) / len(samples),
        "seconds_retrieve": found.seconds_retrieve / len(samples),
        "seconds_refine": found.seconds_refine / len(samples),
        "pictures": _per_picture(samples, found, coarse, fine),
    }


def write_results(folder: Path, classname: str, results: list[dict[str, Any]]) -> None:
    """Writes pose_benchmark.json and pose_benchmark.svg, the recall over the rotation error."""
    write_json(folder / "pose_benchmark.json", {"class": classname, "results": results})
    curves = {
        f"{result['combination']}, {stage}": [picture[stage]["rotation_deg"] for picture in result["pictures"].values()]
        for result in results
        for stage in _STAGES
    }
    write_text(folder / "pose_benchmark.svg", recall_plot(f"{classname}: share of views within an error", curves))


def table(results: list[dict[str, Any]]) -> str:
    """The figures as text, coarse and fine in rows of their own."""
    header = (
        "combination",
        "stage",
        "rotation/deg mean",
        "median",
        "std",
        "units median",
        "AUC@5/10/20",
        "recall@5/10/15",
        "s/view",
    )
    rows = [header]
    for result in results:
        for stage, seconds in zip(_STAGES, ("seconds_retrieve", "seconds_refine"), strict=True):
            figures = result[stage]
            turn, shift = figures["rotation_deg"], figures["translation"]
            angles = [picture[stage]["rotation_deg"] for picture in result["pictures"].values()]
            recalls = [sum(angle <= limit for angle in angles) / len(angles) for limit in (5, 10, 15)]
            rows.append(
                (
                    result["combination"],
                    stage,
                    f"{turn['mean']:.4f}",
                    f"{turn['median']:.4f}",
                    f"{turn['std']:.4f}",
                    f"{shift['median']:.4f}",
                    "/".join(f"{100 * figures['auc_deg'][t]:.1f}" for t in ("5", "10", "20")),
                    "/".join(f"{100 * share:.1f}" for share in recalls),
                    f"{result[seconds]:.3f}",
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _errors(cameras: list[Camera], samples: list[Sample], world: World) -> list[PoseError]:
    """In the user's unit of length."""

    def of_user(camera: Camera) -> Tensor:
        return world.outward(camera.to_blender())

    pairs = zip(cameras, samples, strict=True)
    return [pose_error(of_user(camera), of_user(s.camera)) for camera, s in pairs if s.camera is not None]


def _per_picture(
    samples: list[Sample], found: Localization, coarse: list[PoseError], fine: list[PoseError]
) -> dict[str, Any]:
    """Errors of every picture by its key."""
    rows = zip(samples, found.estimates, coarse, fine, strict=True)
    return {
        sample.key: {
            "coarse": {"rotation_deg": first.rotation_deg, "translation": first.translation},
            "fine": {"rotation_deg": last.rotation_deg, "translation": last.translation},
            "iterations": estimate.iterations,
            "converged": estimate.converged,
            "reason": estimate.reason,
        }
        for sample, estimate, first, last in rows
    }
