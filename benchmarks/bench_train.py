"""PSNR on unseen views against seconds of training.

    python -m benchmarks.bench_train DATA_PATH CLASS --name train_dog_400 [--preset fast] [--iterations N] [--size 400]

The unseen views are the good test pictures at their true poses: those of the class if it ships them (the embedded one,
NeRF-synthetic), else those in DATA_PATH/CLASS_test_poses.json (world_from_camera in Blender axes by "good/name").
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import save_result
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.train import train
from gaussian_splatting.views import View
from PAD_utils.data.mad import Source, load_class
from PAD_utils.run.job import choose_device


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    began = time.perf_counter()
    views = training_views(arguments.data_path, arguments.classname, arguments.size)
    reading = time.perf_counter() - began
    unseen = unseen_views(arguments.data_path, arguments.classname, views)
    config = TrainConfig.preset(arguments.preset, device.type, arguments.iterations, arguments.sh_degree)
    result = train(views, config, device=device, seed=arguments.seed, evaluate_views=unseen)
    last = result.history[-1]
    figures = {
        "class": arguments.classname,
        "width": views[0].camera.width,
        "training_views": len(views),
        "unseen_views": len(unseen),
        "preset": arguments.preset,
        "sh_degree": config.sh_degree,
        "iterations": config.iterations,
        "seconds_reading": reading,
        "seconds_training": result.seconds,
        "psnr_training_views": result.psnr,
        "psnr_unseen": last["psnr"],
        "gaussians": last["gaussians"],
        "curve": result.history,
    }
    path = save_result(arguments.name, device, figures)
    print(f"{last['psnr']:.2f} dB unseen, {last['gaussians']} Gaussians, {result.seconds:.1f} s; written to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--size", type=int, help="resolution: 1, 2, 4, 8 a divisor, larger a width in pixels")
    parser.add_argument("--preset", choices=("fast", "paper"), default="fast")
    parser.add_argument("--iterations", type=int, help="the preset's own if left out")
    parser.add_argument("--sh_degree", type=int, help="the preset's own if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="the first GPU, or the CPU, if left out")
    return parser.parse_args()


def training_views(data_path: Path, classname: str, size: int | None) -> list[View]:
    return load_class(data_path, classname, source=Source(size, with_tests=False)).gallery


def unseen_views(data_path: Path, classname: str, like: list[View]) -> list[View]:
    """The good test pictures at their true poses, in the size of the training views."""
    data = load_class(data_path, classname, like[0].camera.width)
    samples = [s for s in data.test if s.label == 0]
    file = data_path / f"{classname}_test_poses.json"
    poses: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    views = []
    for sample in samples:
        placed = sample.camera
        if placed is None:
            matrix = torch.tensor(poses[f"{sample.defect}/{sample.name}"], dtype=torch.float64)
            placed = sample.intrinsics.at_blender(data.world.inward(matrix), sample.key)
        views.append(View(sample.key, placed, sample.image))
    return views


if __name__ == "__main__":
    main()
