"""The files of an inspection (--images), its report and the last words: from the rows alone, however many there are."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gaussian_splatting.world import World
from PAD_utils.data.mad import ClassData
from PAD_utils.data.photographs import QuerySetting, load_queries
from PAD_utils.evaluate.maps import MAPS_FOLDER, ImageRow, map_path, read_map, write_table
from PAD_utils.evaluate.parts import write_parts
from PAD_utils.files import write_json, write_json_object
from PAD_utils.inspector import Inspector
from PAD_utils.report.cards import Judged, ReportImage
from PAD_utils.report.pictures import shrunk
from PAD_utils.report.report import Whole, write_report
from PAD_utils.report.scene import Scene
from PAD_utils.run.conclude import METRICS, facts_of_run, remove_other_maps
from PAD_utils.run.job import Job, write_run_json
from PAD_utils.run.judge import rates_of
from PAD_utils.run.outputs import pose_facts
from PAD_utils.run.parts import judge_parts, part_figures
from PAD_utils.run.photograph_log import Row
from PAD_utils.run.photographs import Inspected
from PAD_utils.run.steps import Model, seconds_of_model, source_of
from PAD_utils.run.summary import Decided, count_decisions, summary
from PAD_utils.run.tracking import log_figures
from PAD_utils.score.calibration import NOT_LOCALISED

_WORST, _SAMPLE = 120, 80  # photographs that the report shows: those that most need a look, and others at random
AnyRow = TypeVar("AnyRow", Row, ImageRow)
_LARGE_PX, _FEW, _SMALL_PX = 800, 50, 400  # longest side in the report: of few photographs, and of more


def conclude_inspection(
    job: Job, data: ClassData, model: Model, inspector: Inspector, inspected: Inspected
) -> dict[str, Any]:
    """Writes everything that an inspection leaves behind but the maps, and returns the content of metrics.json."""
    rows = inspected.rows
    write_files(job.folder, rows, model.world)
    metrics = measure_inspection(job, model, inspector, rows)
    parts = judge_parts(inspector, rows, job.folder)
    if parts:
        write_parts(job.folder / "parts.csv", parts)
        metrics["parts"] = part_figures(parts)
    else:
        (job.folder / "parts.csv").unlink(missing_ok=True)
    write_json(job.folder / "metrics.json", metrics)
    if job.config.wandb:
        log_figures(job.config, metrics)
    run = write_run_json(job, {"class": data.description})
    threshold = None if inspector.calibration is None else inspector.calibration.threshold
    some = chosen(rows)
    shown = report_photographs(job, data, inspector, some)
    judged = [Judged(row.defect, row.name, None, row.score, row.decision) for row in rows]
    title = f"{job.config.classname}: {len(rows)} pictures"
    poses_of_gallery = [view.camera.to_blender().numpy() for view in data.gallery]
    scene = Scene(model.gaussians, [view.camera for view in data.gallery], [row.estimate.camera for row in some])
    whole = Whole(judged, _selection(len(shown), len(rows)), rates_of(inspector), parts, scene)
    write_report(job.folder / "report.html", title, metrics, run, shown, threshold, poses_of_gallery, whole)
    print(summary(job.config.classname, metrics, decided(rows), job.folder / "report.html"))
    return metrics


def write_files(folder: Path, rows: Sequence[Row], world: World) -> None:
    """Writes images.csv, poses.json and regions.json, and removes the maps of other pictures."""
    remove_other_maps(folder / MAPS_FOLDER, [map_path(folder / MAPS_FOLDER, row.defect, row.name) for row in rows])
    table = [ImageRow(row.defect, row.name, None, row.score, row.decision, sum(row.seconds)) for row in rows]
    write_table(folder / "images.csv", table)

    def poses() -> Iterator[tuple[str, Any]]:
        for row in rows:
            estimate = row.estimate
            yield (
                row.key,
                {"world_from_camera": world.outward(estimate.camera.to_blender()).tolist(), **pose_facts(estimate)},
            )

    write_json_object(folder / "poses.json", poses())
    write_json_object(folder / "regions.json", ((row.key, row.regions) for row in rows))


def measure_inspection(job: Job, model: Model, inspector: Inspector, rows: Sequence[Row]) -> dict[str, Any]:
    """The content of metrics.json: nothing that needs ground truth."""
    retrieve, refine, score = np.mean([row.seconds for row in rows], axis=0).tolist() if rows else (0.0, 0.0, 0.0)
    unknown = {"false_alarms_measured": None, "misses_measured": None}
    calibration = inspector.calibration
    return {
        **dict.fromkeys(METRICS),
        "undefined": dict.fromkeys(METRICS, "these pictures have no ground truth (--images)"),
        "per_defect": {},
        "n_test": len(rows),
        "n_not_localised": sum(not row.pose["converged"] for row in rows),
        "features": inspector.pyramid.name,
        **facts_of_run(job, model),
        "decision": None if calibration is None else {**asdict(calibration), **unknown},
        "decisions": count_decisions(decided(rows)),
        "seconds": {
            **seconds_of_model(job, model),
            "retrieve_per_image": retrieve,
            "refine_per_image": refine,
            "score_per_image": score,
            "total": job.seconds,
        },
    }


def decided(rows: Sequence[Row]) -> list[Decided]:
    """What the summary says of each photograph; those of no part go by their file names."""
    return [Decided(row.name if row.part is None else f"{row.part}/{row.name}", None, row.decision) for row in rows]


def chosen(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """Those that the report shows, in order: all of few; of many the ones that most need a look, and a sample of the
    others, the same each time."""
    if len(rows) <= _WORST + _SAMPLE:
        return list(rows)
    ranked: list[int] = sorted(
        range(len(rows)), key=lambda i: (rows[i].decision != NOT_LOCALISED, -(rows[i].score or 0))
    )
    sample: list[int] = random.Random(0).sample(sorted(ranked[_WORST:]), _SAMPLE)
    return [rows[i] for i in sorted([*ranked[:_WORST], *sample])]


def _selection(shown: int, count: int) -> str:
    """What the report says where it does not show all."""
    if shown == count:
        return ""
    return (
        f"{shown} of {count} pictures are shown: the {_WORST} that most need a look, and {_SAMPLE} drawn at random "
        f"from the others. {count - shown} are left out here; images.csv names all, anomaly_maps holds their maps."
    )


def report_photographs(job: Job, data: ClassData, inspector: Inspector, rows: Sequence[Row]) -> list[ReportImage]:
    """What the report shows of photographs: they are read again, for nothing of them was kept in memory."""
    setting = QuerySetting.of(data, source_of(job.config))
    longest = _LARGE_PX if len(rows) <= _FEW else _SMALL_PX

    def shown(row: Row) -> ReportImage:
        (sample,) = load_queries([row.photograph], setting)
        estimate = row.estimate
        rendering = inspector.renderings([sample.photograph], [estimate])[0]
        heat = read_map(map_path(job.folder / MAPS_FOLDER, row.defect, row.name))
        height, width = heat.shape
        pictures = (shrunk(p, longest) for p in (sample.photograph.numpy(), rendering.numpy(), heat))
        pose = estimate.camera.to_blender().numpy()
        query, drawn, scores = pictures
        image = ReportImage(row.defect, row.name, None, row.score, row.decision, query, drawn, scores, None, pose)
        return replace(image, regions=row.found_regions, size=(width, height))

    return [shown(row) for row in rows]
