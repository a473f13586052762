"""Writes the tables of docs/performance.md from the JSON files in benchmarks/results.

python -m benchmarks.performance_tables
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.readme_tables import NOT_MEASURED, RESULTS, poses, recall, result, runs_on_gpu, table

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_KERNELS = {
    "project_splats": "project, count",
    "allocate_tiles": "allocate",
    "scatter_splats": "scatter",
    "sort_tiles": "sort",
    "blend_forward": "blend",
    "photometric_gradient": "loss and its gradient",
    "blend_backward": "blend backward",
    "update_splats_1": "project backward, Adam, statistics",
}


def training() -> str:
    """One row for each training run on a GPU."""
    rows = []
    for content in runs_on_gpu():
        f = content["figures"]
        rows.append(
            [
                f"{f['class']}, {f['preset']}, SH {f['sh_degree']}",
                f"{f['iterations']} x {f['views_per_step']}",
                f"{f['seconds_png_to_ply']:.1f} s",
                f"{f['psnr_unseen']:.2f} dB",
                f"{f['gaussians']:,}",
                f"{f['peak_memory_bytes'] / 1e9:.2f} GB",
                f"{f['frames_per_second']:,.0f}",
                content["machine"]["device"],
            ]
        )
    header = ["run", "steps x views", "PNG to PLY", "unseen views", "Gaussians", "memory", "frames/s, 64 at once", "on"]
    return table(header, rows) if rows else NOT_MEASURED


def kernels() -> str:
    """Each kernel's time for one view beside the time that counting allows."""
    measured, counted = result("gpu_D1Dog_fast"), result("gpu_floor")
    if measured is None or counted is None:
        return NOT_MEASURED
    times, views = measured["figures"]["microseconds_per_step"], measured["figures"]["views_per_step"]
    rows = []
    for name, label in _KERNELS.items():
        floor = counted["figures"]["floor"].get(name)
        each = times[name] / views
        share = ["", "", ""]
        if floor:
            work = f"{floor['megabytes']:.1f} MB, {floor['mega_operations']:.0f} M"
            share = [work, f"{floor['us']:.1f} ({floor['bound']})", f"{100 * floor['us'] / each:.0f} %"]
        rows.append([label, f"{each:.1f}", *share])
    total = times["step"] / views
    lowest = sum(floor["us"] for floor in counted["figures"]["floor"].values())
    rows.append(["whole step", f"{total:.1f}", "", f"{lowest:.1f}", f"{100 * lowest / total:.0f} %"])
    return table(["kernel", "us per view", "bytes, lane operations", "floor, us", "share of the floor"], rows)


def counts() -> str:
    """What one view of the trained model takes."""
    counted = result("gpu_floor")
    if counted is None:
        return NOT_MEASURED
    rows = [[key.replace("_", " "), f"{value:,.0f}"] for key, value in counted["figures"]["per_view"].items()]
    return table(["per view", "count"], rows)


def compilation() -> str:
    """How long the kernels took to compile on a machine that never had."""
    measured = result("gpu_compile")
    if measured is None:
        return NOT_MEASURED
    seconds = measured["figures"]["seconds_compiling"]
    return table(
        ["first compilation", "on"],
        [[f"{seconds:.1f} s", f"{measured['machine']['device']}, {measured['machine']['cores']} cores"]],
    )


def curves() -> str:
    """PSNR of unseen views after so many seconds of training, evaluation left out."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        figures = content.get("figures")
        curve = figures.get("curve") if isinstance(figures, dict) else None
        if not curve:
            continue
        points = [curve[round(share * (len(curve) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1)]
        steps = [f"{point['seconds']:.1f} s: {point['psnr']:.2f} dB" for point in points]
        rows.append([path.stem, content["machine"]["device"], *steps])
    header = ["run", "on", *(f"{share} of the steps" for share in ("a tenth", "a quarter", "half", "3 / 4", "all"))]
    return table(header, rows) if rows else NOT_MEASURED


TABLES: dict[str, Callable[[], str]] = {
    "training": training,
    "curves": curves,
    "kernels": kernels,
    "counts": counts,
    "compilation": compilation,
    "poses": poses,
    "recall": recall,
}


def filled(text: str) -> str:
    """The page with every marked table made anew."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- figures: {match.group(1)} -->\n{TABLES[match.group(1)]()}\n<!-- end -->"

    return re.sub(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
