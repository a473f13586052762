"""Seconds of comparing a photograph with the good object at a known pose, in a batch and alone.

    python -m benchmarks.bench_scoring_speed RESULT_FOLDER/inspector PICTURES --name scoring_speed_cpu

From pictures in memory to maps of their size, the rendering of the object and what is usual at its places included.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import save_result
from gaussian_splatting.images import read_image
from PAD_utils.data.listing import list_pictures
from PAD_utils.inspector import Inspector
from PAD_utils.run.job import choose_device

BATCH = {"cpu": 4, "cuda": 16}
REPEATS = {"cpu": 5, "cuda": 20}


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    inspector = Inspector.load(arguments.inspector, device=device)
    images = [read_image(path) for path in list_pictures(arguments.pictures)[: BATCH[device.type]]]
    estimates = inspector.localize(torch.stack(images)).estimates
    size, gaussians = images[0].shape[1], len(inspector.gaussians)
    figures: dict[str, Any] = {"features": inspector.pyramid.name, "size": size, "gaussians": gaussians}
    for name, some in (("in_batch", len(images)), ("alone", 1)):
        timing = timed(lambda n=some: inspector.compare(images[:n], estimates[:n]), device)
        figures[name] = {key: value / some for key, value in timing.items()}
    figures["load_average"] = os.getloadavg()[0]  # above the number of cores, the clock measures the other work as well
    print(save_result(arguments.name, device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inspector", type=Path, help="folder that a job or Inspector.save has left")
    parser.add_argument("pictures", type=Path, help="folder of photographs of one size")
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def timed(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds by the clock and of the process on all cores: the medians of repeats after a warm-up."""
    wall, cpu = [], []
    for repeat in range(1 + REPEATS[device.type]):
        began, began_cpu = time.perf_counter(), time.process_time()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - began_cpu)
    return {"seconds": sorted(wall)[len(wall) // 2], "cpu_seconds": sorted(cpu)[len(cpu) // 2]}


if __name__ == "__main__":
    main()
