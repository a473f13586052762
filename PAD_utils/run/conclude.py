"""The last steps of the main job: metrics, the files of the contract, the report, the last words."""

import contextlib
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from PAD_utils.data.mad import ClassData, Sample
from PAD_utils.evaluate.maps import MAPS_FOLDER, ImageRow, map_path, write_map, write_table
from PAD_utils.evaluate.metrics import evaluate
from PAD_utils.files import write_json
from PAD_utils.report.report import ReportImage, write_report
from PAD_utils.run.job import Job, write_run_json
from PAD_utils.run.judge import Verdicts
from PAD_utils.run.steps import Model, Poses
from PAD_utils.run.summary import Decided, count_decisions, summary
from PAD_utils.run.tracking import log_figures
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED

_METRICS = ("image_auroc", "pixel_auroc", "aupro")


def conclude(
    job: Job, data: ClassData, model: Model, samples: list[Sample], poses: Poses, verdicts: Verdicts
) -> dict[str, Any]:
    """Steps 5 and 6: writes everything that the run leaves behind and returns the content of metrics.json."""
    write_maps_and_table(job, samples, poses, verdicts)
    metrics, details = measure(job, model, samples, poses, verdicts)
    shown = report_images(job, samples, verdicts)
    metrics["decisions"] = count_decisions(decided(shown))
    write_json(job.folder / "metrics.json", metrics)
    if job.config.wandb:
        log_figures(job.config, metrics)
    run = write_run_json(job, {"class": data.description})
    poses_of_gallery = [view.camera.to_blender().numpy() for view in data.gallery]
    threshold = None if verdicts.calibration is None else verdicts.calibration.threshold
    title = f"{job.config.classname}: {len(samples)} pictures"
    write_report(job.folder / "report.html", title, {**metrics, **details}, run, shown, threshold, poses_of_gallery)
    print(summary(job.config.classname, metrics, decided(shown), job.folder / "report.html"))
    return metrics


def decided(images: list[ReportImage]) -> list[Decided]:
    """What the summary says of each picture; those without a label go by their file names."""
    return [Decided(i.name if i.label is None else f"{i.defect}/{i.name}", i.label, i.decision) for i in images]


def write_maps_and_table(job: Job, samples: list[Sample], poses: Poses, verdicts: Verdicts) -> None:
    """Writes anomaly_maps/<defect>/<name>.tiff, images.csv and regions.json. Maps of other pictures go: whoever
    evaluates the folder would count them in."""
    seconds = poses.retrieve_seconds + poses.refine_seconds + verdicts.score_seconds
    rows = []
    paths = [map_path(job.folder / MAPS_FOLDER, sample.defect, sample.name) for sample in samples]
    for stale in set((job.folder / MAPS_FOLDER).glob("*/*.tiff")).difference(paths):
        stale.unlink()
        with contextlib.suppress(OSError):  # other files, or other maps, are in there
            stale.parent.rmdir()
    for i, sample in enumerate(samples):
        verdict = verdicts.each[i]
        write_map(paths[i], verdict.map.numpy())
        label = _label(job, sample)
        rows.append(ImageRow(sample.defect, sample.name, label, verdict.score, verdict.decision, seconds))
    write_table(job.folder / "images.csv", rows)
    found = {s.key: [r.as_json() for r in v.regions] for s, v in zip(samples, verdicts.each, strict=True)}
    write_json(job.folder / "regions.json", found)


def report_images(job: Job, samples: list[Sample], verdicts: Verdicts) -> list[ReportImage]:
    """What the report shows of each picture."""
    return [
        ReportImage(
            sample.defect,
            sample.name,
            _label(job, sample),
            verdict.score,
            verdict.decision,
            sample.photograph.numpy(),
            verdict.rendering.numpy(),
            verdict.map.numpy(),
            None if sample.mask is None else sample.mask.numpy(),
            verdict.pose.camera.to_blender().numpy(),
            verdict.regions,
        )
        for sample, verdict in zip(samples, verdicts.each, strict=True)
    ]


def measure(
    job: Job, model: Model, samples: list[Sample], poses: Poses, verdicts: Verdicts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metrics.json, the details that only the report shows). A metric that is undefined is None, with a reason."""
    if job.config.images:
        reason = "these pictures have no ground truth (--images)"
        details: dict[str, Any] = {"undefined": dict.fromkeys(_METRICS, reason), "per_defect": {}, "curves": {}}
    else:
        details = evaluate(
            [v.map.numpy() for v in verdicts.each],
            [None if s.mask is None else s.mask.numpy() for s in samples],
            np.array([v.score for v in verdicts.each]),
            [s.label for s in samples],
            [s.defect for s in samples],
        )
    metrics = {
        **{name: details.get(name) for name in _METRICS},
        "undefined": details["undefined"],
        "per_defect": details["per_defect"],
        "n_test": len(samples),
        "n_not_localised": sum(not e.converged for e in poses.estimates),
        "n_gaussians": len(model.gaussians),
        "train_psnr": model.train_psnr,
        "preset": job.config.preset,
        "features": verdicts.features,
        "retrieval": job.config.retrieval,
        "refiner": job.config.refiner,
        "warnings": job.warnings,
        "decision": decision_figures(samples, verdicts, bool(job.config.images)),
        "seconds": {
            "train": model.train_seconds,
            "retrieve_per_image": poses.retrieve_seconds,
            "refine_per_image": poses.refine_seconds,
            "score_per_image": verdicts.score_seconds,
            "total": time.time() - job.started,
        },
    }
    return metrics, details


def decision_figures(samples: list[Sample], verdicts: Verdicts, unlabeled: bool) -> dict[str, Any] | None:
    """The threshold, the rate of false alarms it promises, and the rates measured here (None: no such pictures)."""
    if verdicts.calibration is None:
        return None
    alarm: dict[int, list[bool]] = {} if unlabeled else {0: [], 1: []}
    for sample, verdict in zip(samples, verdicts.each, strict=True):
        if not unlabeled and verdict.decision != NOT_LOCALISED:
            alarm[sample.label].append(verdict.decision == DEFECT)
    good, bad = alarm.get(0), alarm.get(1)
    return {
        **asdict(verdicts.calibration),
        "false_alarms_measured": sum(good) / len(good) if good else None,
        "misses_measured": 1 - sum(bad) / len(bad) if bad else None,
    }


def _label(job: Job, sample: Sample) -> int | None:
    """0 good, 1 defective, None where nobody knows."""
    return None if job.config.images else sample.label
