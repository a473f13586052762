"""Seconds of scoring one query with the EfficientNet-B4 architecture (random weights: time only), in a batch and alone.

    python -m benchmarks.bench_scoring_speed CLASS_FOLDER MODEL.ply --size 800 --name scoring_speed_gpu

From pictures and renderings on the device, resampled to the size, to maps of that size and scores.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision

from benchmarks.results_file import save_result
from benchmarks.scoring_pairs import as_float, load_case
from PAD_utils.run.job import choose_device
from PAD_utils.score.anomaly import ScoreConfig, score_pairs
from PAD_utils.score.features import PAPER_FEATURES, make_features
from PAD_utils.score.pyramid import FeaturePyramid
from PAD_utils.score.usual import learn_normality

BATCH = {"cpu": 4, "cuda": 32}
REPEATS = {"cpu": 5, "cuda": 20}
GOOD_VIEWS = 8


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    case = load_case(arguments.folder, arguments.model, arguments.cache, device)
    pyramid = random_network(device)
    pairs = [as_float(case.test.queries), case.test.renderings.float()]
    good = [as_float(case.held_out.queries)[:GOOD_VIEWS], case.held_out.renderings.float()[:GOOD_VIEWS]]
    pairs, good = ([resized(x, arguments.size).to(device) for x in both] for both in (pairs, good))
    config = ScoreConfig.fast()
    normality = learn_normality(pyramid, good[0], good[1], config)
    count = BATCH[device.type]
    figures: dict[str, Any] = {"features": pyramid.name, "class": case.name, "size": arguments.size, "batch": count}
    for name, some in (("in_batch", count), ("alone", 1)):
        queries, renderings = (x[:some].contiguous() for x in pairs)
        timing = timed(lambda q=queries, r=renderings: score_pairs(pyramid, q, r, config, normality), device)
        figures[name] = {key: value / some for key, value in timing.items()}
    figures["load_average"] = os.getloadavg()[0]  # above the number of cores, the clock measures the other work as well
    print(save_result(arguments.name, device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a class")
    parser.add_argument("model", type=Path, help="its PLY file; trained and written there if it is missing")
    parser.add_argument("--size", type=int, required=True, help="side of the queries in pixels")
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--cache", type=Path, default=Path(".data/scoring"), help="folder for renderings")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def random_network(device: torch.device) -> FeaturePyramid:
    """The default features as a job makes them, but for the values of the weights."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(PAPER_FEATURES.replace("-", "_"), weights=None)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / "weights.pth")
        return make_features(PAPER_FEATURES, Path(folder) / "weights.pth", device)


def resized(pictures: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)


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
