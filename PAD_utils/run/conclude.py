"""The last steps of the main job: metrics, the files of the contract, the report, the last words."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gaussian_splatting.parallel import parallel
from PAD_utils.data.mad import ClassData, Sample
from PAD_utils.evaluate.maps import MAPS_FOLDER, ImageRow, map_path, write_map, write_table
from PAD_utils.evaluate.metrics import evaluate
from PAD_utils.files import write_json
from PAD_utils.report.report import ReportImage, Whole, write_report
from PAD_utils.report.scene import Scene
from PAD_utils.run.job import Job, write_run_json
from PAD_utils.run.judge import Verdicts
from PAD_utils.run.steps import Model, Poses, given_poses_off_px, seconds_of_model
from PAD_utils.run.summary import Decided, count_decisions, summary
from PAD_utils.run.tracking import log_figures
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED

METRICS = ("image_auroc", "pixel_auroc", "aupro")


def conclude(
    job: Job, data: ClassData, model: Model, samples: list[Sample], poses: Poses, verdicts: Verdicts
) -> dict[str, Any]:
    """Steps 5 and 6: writes everything that the run leaves behind and returns the content of metrics.json."""
    makers: list[Callable[[], Any]] = [
        lambda: measure(job, model, samples, poses, verdicts),
        lambda: write_maps_and_table(job, samples, poses, verdicts),
    ]
    (metrics, details), _ = parallel(lambda make: make(), makers)
    metrics["seconds"]["total"] = job.seconds  # the maps too are written
    shown = report_images(samples, verdicts)
    metrics["decisions"] = count_decisions(decided(shown))
    write_json(job.folder / "metrics.json", metrics)
    if job.config.wandb:
        log_figures(job.config, metrics)
    run = write_run_json(job, {"class": data.description})
    poses_of_gallery = [view.camera.to_blender().numpy() for view in data.gallery]
    threshold = None if verdicts.calibration is None else verdicts.calibration.threshold
    scene = Scene(model.gaussians, [v.camera for v in data.gallery], [v.pose.camera for v in verdicts.each])
    title = f"{job.config.classname}: {len(samples)} pictures"
    write_report(
        job.folder / "report.html",
        title,
        {**metrics, **details},
        run,
        shown,
        threshold,
        poses_of_gallery,
        Whole(rates=verdicts.rates, scene=scene),
    )
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
    remove_other_maps(job.folder / MAPS_FOLDER, paths)
    parallel(lambda of: write_map(of[0], of[1].map.numpy()), zip(paths, verdicts.each, strict=True))
    for sample, verdict in zip(samples, verdicts.each, strict=True):
        rows.append(ImageRow(sample.defect, sample.name, sample.label, verdict.score, verdict.decision, seconds))
    write_table(job.folder / "images.csv", rows)
    found = {s.key: [r.as_json() for r in v.regions] for s, v in zip(samples, verdicts.each, strict=True)}
    write_json(job.folder / "regions.json", found)


def remove_other_maps(folder: Path, paths: Sequence[Path]) -> None:
    """Removes all maps below a folder but these."""
    for stale in set(folder.glob("*/*.tiff")).difference(paths):
        stale.unlink()
        with contextlib.suppress(OSError):  # other files, or other maps, are in there
            stale.parent.rmdir()


def report_images(samples: list[Sample], verdicts: Verdicts) -> list[ReportImage]:
    """What the report shows of each picture."""
    return [
        ReportImage(
            sample.defect,
            sample.name,
            sample.label,
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
    details = evaluate(
        [v.map.numpy() for v in verdicts.each],
        [None if s.mask is None else s.mask.numpy() for s in samples],
        np.array([v.score for v in verdicts.each]),
        [s.label for s in samples],
        [s.defect for s in samples],
    )
    metrics = {
        **{name: details.get(name) for name in METRICS},
        "undefined": details["undefined"],
        "per_defect": details["per_defect"],
        "n_test": len(samples),
        "n_not_localised": sum(not e.converged for e in poses.estimates),
        "features": verdicts.features,
        **facts_of_run(job, model),
        "decision": decision_figures(samples, verdicts),
        "seconds": {
            **seconds_of_model(job, model),
            "retrieve_per_image": poses.retrieve_seconds,
            "refine_per_image": poses.refine_seconds,
            "score_per_image": verdicts.score_seconds,
            "total": job.seconds,
        },
    }
    return metrics, details


def facts_of_run(job: Job, model: Model) -> dict[str, Any]:
    """What metrics.json says of the model and of how pictures were judged."""
    return {
        "n_gaussians": len(model.gaussians),
        "train_psnr": model.train_psnr,
        "given_poses_off_px": given_poses_off_px(job),
        **{name: getattr(job.config, name) for name in ("preset", "retrieval", "refiner")},
        "warnings": job.warnings,
    }


def decision_figures(samples: list[Sample], verdicts: Verdicts) -> dict[str, Any] | None:
    """The threshold, the rate of false alarms it promises, and the rates measured here (None: no such pictures)."""
    if verdicts.calibration is None:
        return None
    alarm: dict[int, list[bool]] = {0: [], 1: []}
    for sample, verdict in zip(samples, verdicts.each, strict=True):
        if verdict.decision != NOT_LOCALISED:
            alarm[sample.label].append(verdict.decision == DEFECT)
    good, bad = alarm[0], alarm[1]
    return {
        **asdict(verdicts.calibration),
        "false_alarms_measured": sum(good) / len(good) if good else None,
        "misses_measured": 1 - sum(bad) / len(bad) if bad else None,
    }
