"""Writes the tables of README.md from the JSON files in benchmarks/results, between the markers that name them.

    python -m benchmarks.readme_tables

No figure in the README is typed by hand: a marker <!-- figures: NAME --> ... <!-- end --> is filled by the function of
that name here, or says that it was not measured yet.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import scoring_tables
from PAD_utils.arguments import ArgumentParser

README = Path(__file__).parent.parent / "README.md"
RESULTS = Path(__file__).parent / "results"
NOT_MEASURED = "not measured"


def result(name: str) -> dict[str, Any] | None:
    """The content of benchmarks/results/<name>.json, or None when there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def command(benchmark: str, *arguments: str) -> str:
    """What made a figure, as one types it."""
    return f"`{' '.join(('python -m benchmarks.' + benchmark, *arguments))}`"


def percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def runs_on_gpu() -> list[dict[str, Any]]:
    """The results of benchmarks/bench_gpu.py, one for every scene that it trained."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("gpu_*.json"))]
    return [content for content in results if "seconds_png_to_ply" in content["figures"]]


def poses() -> str:
    """Errors and times of every run of benchmarks/bench_pose.py, refined by Gauss-Newton."""
    rows = []
    for path in sorted(RESULTS.glob("pose_*.json")):
        content = json.loads(path.read_text())
        figures = content["figures"]
        found = figures["gauss-newton"]
        seconds = found["seconds_retrieve_per_picture"] + found["seconds_refine_per_picture"]
        rows.append(
            [
                f"{figures['class']}, {figures['width']} px, SH {figures['sh_degree']}, {figures['pictures']} pictures",
                content["machine"]["device"],
                figures["start"],
                f"{found['rotation_deg']['median']:.4f} / {found['rotation_deg_worst']:.3f}",
                f"{found['translation']['median']:.4f}",
                f"{1000 * seconds:.1f} ms / {1000 * found['seconds_alone']:.0f} ms",
            ]
        )
    header = [
        "queries",
        "device",
        "first poses",
        "rotation error median / worst (degrees)",
        "translation, median (units)",
        "per picture, all in one call / alone",
    ]
    return table(header, rows) if rows else NOT_MEASURED


def figures() -> str:
    """The one table of the README: what was measured, on what, by which command."""
    rows = [*_jobs(), *_trainings(), *_poses(), *_scores(), *_decisions()]
    return table(["what", "on", "figure", "command"], rows) if rows else NOT_MEASURED


def _jobs() -> list[list[str]]:
    rows = []
    for path in sorted(RESULTS.glob("job_*.json")):
        content = json.loads(path.read_text())
        name, metrics = content["figures"]["class"], content["figures"]["metrics"]
        seconds = metrics["seconds"]
        each = sum(seconds[f"{stage}_per_image"] for stage in ("retrieve", "refine", "score"))
        quality = " / ".join(percent(metrics[metric]) for metric in ("image_auroc", "pixel_auroc", "aupro"))
        rows.append(
            [
                f"whole job, {path.stem.removeprefix('job_').replace('_', ', ')} px, features {metrics['features']}",
                content["machine"]["device"],
                f"image AUROC / pixel AUROC / AUPRO {quality} %; training {seconds['train']:.0f} s, "
                f"{1000 * each:.0f} ms per picture",
                command(
                    "bench_job",
                    f"DATA {name} --true_poses DATA/{name}_test_poses.json",
                    *content["figures"]["flags"],
                    "--name",
                    path.stem,
                ),
            ]
        )
    return rows


def _trainings() -> list[list[str]]:
    return [
        [
            f"training, {f['class']}, {f['width']} px, SH {f['sh_degree']}, `{f['preset']}`",
            content["machine"]["device"],
            f"{f['seconds_png_to_ply']:.1f} s from PNG to PLY, {f['psnr_unseen']:.2f} dB on unseen views, "
            f"{f['gaussians']:,} Gaussians",
            command(
                "bench_gpu",
                f"DATA {f['class']} --preset {f['preset']} --sh_degree {f['sh_degree']}",
                f"--name {content['benchmark']}",
            ),  # fmt: skip
        ]
        for content in runs_on_gpu()
        for f in [content["figures"]]
    ]


def _poses() -> list[list[str]]:
    rows = []
    for path in sorted(RESULTS.glob("pose_*.json")):
        content = json.loads(path.read_text())
        f = content["figures"]
        found = f["gauss-newton"]
        seconds = found["seconds_retrieve_per_picture"] + found["seconds_refine_per_picture"]
        rows.append(
            [
                f"poses, {f['class']}, {f['width']} px, {f['pictures']} pictures",
                content["machine"]["device"],
                f"rotation error {found['rotation_deg']['median']:.3f} degrees (median), "
                f"{found['rotation_deg_worst']:.2f} (worst), {1000 * seconds:.0f} ms per picture",
                command("bench_pose", f"DATA {f['class']} --model MODEL.ply --start {f['start']} --name {path.stem}"),
            ]
        )
    return rows


def _scores() -> list[list[str]]:
    header, *found = scoring_tables.means() or [()]
    rows = [dict(zip(header, row, strict=True)) for row in found]
    return [
        [
            f"scores, mean of {row['classes']} classes, features {row['features']}, {row['models']}",
            "",
            f"image AUROC / pixel AUROC / AUPRO {row['clean']}",
            command("bench_scoring", "DATA/CLASS MODEL.ply --role reported", *_scoring_flags(row)),
        ]
        for row in rows
        if row["score"] == "ours"
    ]


def _scoring_flags(row: dict[str, str]) -> list[str]:
    network = [] if row["features"] == "gradient" else [f"--network BACKBONES.py:{row['features']}:WEIGHTS"]
    return [*network, *(["--trained_as cpu"] if row["models"].startswith("CPU") else [])]


def _decisions() -> list[list[str]]:
    header, *found = scoring_tables.decisions()
    rows = [dict(zip(header, row, strict=True)) for row in found]
    return [
        [
            f"decisions, {row['class']}, features {row['features']}, false alarms / misses at {row['aimed at']}",
            row["device"],
            f"{row['clean']} of {row['good']} good / {row['defective']} defective; noise of 2 %: {row['noise']}",
            command("bench_decision", f"DATA {row['class']} --features {row['features']} --output FOLDER"),
        ]
        for row in rows
    ]


def recall() -> str:
    """Share of first poses within some angle, on test pictures and on training pictures that were left out."""
    rows = []
    for path in sorted(RESULTS.glob("pose_*.json")):
        figures = json.loads(path.read_text())["figures"]
        for queries in ("retrieval_test", "retrieval_training_left_out"):
            for name, found in figures[queries].items():
                first, best = (found[f"recall_{which}"] for which in ("first", "best_of_all"))
                rows.append(
                    [
                        f"{figures['class']}, {figures['width']} px",
                        queries.removeprefix("retrieval_").replace("_", " "),
                        name,
                        f"{found['median_first_deg']:.1f}",
                        " / ".join(percent(first[limit]) for limit in ("5", "10", "15")),
                        " / ".join(percent(best[limit]) for limit in ("5", "10", "15")),
                    ]
                )
    header = [
        "class",
        "queries",
        "chosen by",
        "median (degrees)",
        "first within 5 / 10 / 15 degrees (%)",
        "best of eight (%)",
    ]
    return table(header, rows) if rows else NOT_MEASURED


TABLES: dict[str, Callable[[], str]] = {"figures": figures}


def filled(text: str) -> str:
    """The text with every marked table made anew."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- figures: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    ArgumentParser(__doc__).parse_args()
    README.write_text(filled(README.read_text()))
