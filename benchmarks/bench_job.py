"""The whole main job, timed and held against the true poses of the test set.

    python -m benchmarks.bench_job DATA_PATH CLASS --name job_demo [--true_poses FILE] [flags of train_and_render.py]

FILE holds the true poses (world_from_camera in Blender axes by "kind/number"); without it the class must ship them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import save_result
from PAD_utils.data.mad import load_class
from PAD_utils.evaluate.pose_metrics import PoseError, pose_error, recall, summarize
from PAD_utils.run.job import choose_device
from train_and_render import main as train_and_render


def run_job(data_path: Path, classname: str, true_poses: Path | None, flags: list[str]) -> dict[str, Any]:
    """Runs the job in an empty folder; returns its metrics, the wall time, and how good its poses are."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        code = train_and_render(["-c", classname, "-data_path", str(data_path), "--output", folder, *flags])
        seconds = time.perf_counter() - start
        if code:
            raise SystemExit(code)
        metrics = json.loads((Path(folder) / "metrics.json").read_text())
        found = json.loads((Path(folder) / "poses.json").read_text())
    errors = pose_errors(found, read_true_poses(data_path, classname, true_poses))
    worst = max(errors, key=lambda error: error.rotation_rad)
    return {
        "class": classname,
        "flags": flags,
        "seconds": seconds,
        "metrics": metrics,
        "poses": {
            **summarize(errors),
            "worst_deg": worst.rotation_deg,
            "share_under_0.3_deg_and_0.01": recall(errors, 0.3, 0.01),
            "share_under_0.5_deg": recall(errors, 0.5),
        },
    }


def read_true_poses(data_path: Path, classname: str, path: Path | None) -> dict[str, torch.Tensor]:
    """world_from_camera by the keys of poses.json."""
    if path is not None:
        content = json.loads(path.read_text())
        return {f"{key}.png": torch.tensor(pose, dtype=torch.float64) for key, pose in content.items()}
    samples = load_class(data_path, classname).test
    return {sample.key: sample.camera.to_blender() for sample in samples if sample.camera is not None}


def pose_errors(found: dict[str, Any], true: dict[str, torch.Tensor]) -> list[PoseError]:
    """One error per picture of poses.json; a picture without a true pose is an error of the benchmark."""
    poses = {key: torch.tensor(entry["world_from_camera"], dtype=torch.float64) for key, entry in found.items()}
    return [pose_error(pose, true[key]) for key, pose in poses.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--true_poses", type=Path)
    parser.add_argument("--name", required=True, help="of the file in benchmarks/results")
    arguments, flags = parser.parse_known_args()
    figures = run_job(arguments.data_path, arguments.classname, arguments.true_poses, flags)
    print(save_result(arguments.name, choose_device(None), figures))
    print(
        json.dumps({**figures, "metrics": {k: v for k, v in figures["metrics"].items() if k != "warnings"}}, indent=2)
    )


if __name__ == "__main__":
    main()
