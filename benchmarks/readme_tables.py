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


def percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def jobs() -> str:
    """The whole job on every class that benchmarks/bench_job.py was run on."""
    rows = []
    for path in sorted(RESULTS.glob("job_*.json")):
        content = json.loads(path.read_text())
        figures, metrics = content["figures"], content["figures"]["metrics"]
        seconds, poses = metrics["seconds"], figures["poses"]
        per_picture = sum(seconds[f"{stage}_per_image"] for stage in ("retrieve", "refine", "score"))
        rows.append(
            [
                path.stem.removeprefix("job_"),
                content["machine"]["device"],
                f"{seconds['train']:.1f} s" if seconds["train"] else NOT_MEASURED,
                f"{1000 * per_picture:.0f} ms",
                " / ".join(percent(metrics[name]) for name in ("image_auroc", "pixel_auroc", "aupro")),
                f"{poses['rotation_deg']['median']:.3f} / {poses['worst_deg']:.3f}",
                metrics["features"],
            ]
        )
    header = [
        "job",
        "device",
        "training",
        "per picture",
        "image AUROC / pixel AUROC / AUPRO",
        "rotation error median / worst (degrees)",
        "features",
    ]
    return table(header, rows) if rows else NOT_MEASURED


def runs_on_gpu() -> list[dict[str, Any]]:
    """The results of benchmarks/bench_gpu.py, one for every scene that it trained."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("gpu_*.json"))]
    return [content for content in results if "seconds_png_to_ply" in content["figures"]]


def training_on_gpu() -> str:
    """From PNG files to the saved PLY."""
    rows = []
    for content in runs_on_gpu():
        figures = content["figures"]
        rows.append(
            [
                f"{figures['class']}, {figures['width']} px, SH {figures['sh_degree']}, {figures['preset']}",
                content["machine"]["device"],
                f"{figures['iterations']} x {figures['views_per_step']}",
                f"{figures['seconds_png_to_ply']:.1f} s",
                f"{figures['psnr_unseen']:.2f} dB",
                f"{figures['gaussians']:,}",
                f"{figures['frames_per_second']:,.0f}",
            ]
        )
    header = ["scene", "device", "steps x views", "PNG to PLY", "unseen views", "Gaussians", "frames/s"]
    return table(header, rows) if rows else NOT_MEASURED


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


def scores() -> str:
    """Means over the reported classes of benchmarks/bench_scoring.py."""
    rows = scoring_tables.means()
    return table(list(rows[0]), [list(row) for row in rows[1:]]) if rows else NOT_MEASURED


def decisions() -> str:
    """What the whole job decided, with poses that it found itself."""
    rows = scoring_tables.decisions()
    return table(list(rows[0]), [list(row) for row in rows[1:]])


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


TABLES: dict[str, Callable[[], str]] = {
    "jobs": jobs,
    "training_on_gpu": training_on_gpu,
    "poses": poses,
    "scores": scores,
    "decisions": decisions,
}


def filled(text: str) -> str:
    """The text with every marked table made anew."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- figures: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
