"""The GPU's figures: PNG to PLY at equal quality, time of each kernel of a step, frames per second, memory.

    python -m benchmarks.bench_gpu DATA_PATH CLASS --name gpu_D1Dog [--preset fast] [--iterations N] [--sh_degree 0]

The data is that of bench_train. Compilation is not part of the times; --compile measures that alone.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from diff_gaussian_rasterization.cuda.launch import CudaRuntime

from benchmarks.bench_train import training_views, unseen_views
from benchmarks.results_file import save_result
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import save_ply
from gaussian_splatting.quality import mean_psnr
from gaussian_splatting.rendering import render
from gaussian_splatting.training.engine_cuda import CudaEngine
from gaussian_splatting.training.schedule import TrainConfig, learning_rates, view_order
from gaussian_splatting.training.state import TrainingState
from gaussian_splatting.training.train import train
from gaussian_splatting.views import View

_BATCH = 64
_STEPS = 200  # of a profile


def main() -> None:
    arguments = parse()
    device = torch.device("cuda", torch.cuda.current_device())
    if arguments.compile:
        save_result(arguments.name, device, {"seconds_compiling": seconds_compiling(device)})
        return
    config = TrainConfig.preset(arguments.preset, device.type, arguments.iterations, arguments.sh_degree)
    config = replace(config, views_per_step=arguments.views_per_step or config.views_per_step)
    config = replace(config, budget=config.budget if arguments.budget is None else arguments.budget)
    config = replace(config, prune_opacity=arguments.prune_opacity or config.prune_opacity)
    figures, model, views = from_png_to_ply(arguments.data_path, arguments.classname, config, device)
    unseen = unseen_views(arguments.data_path, arguments.classname, views)
    figures |= {
        "preset": arguments.preset,
        "config": config.as_dict(),
        "psnr_unseen": mean_psnr(model, unseen),
        "unseen_views": len(unseen),
    }
    figures["frames_per_second"] = frames_per_second(model, views)
    figures["microseconds_per_step"] = profile(model, views, config, device)
    if arguments.curve:
        figures["curve"] = train(views, config, device=device, evaluate_views=unseen).history
    path = save_result(arguments.name, device, figures)
    shown = {k: v for k, v in figures.items() if k not in ("curve", "config")}
    print(f"{path}: {shown}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--preset", choices=("fast", "paper"), default="fast")
    parser.add_argument("--iterations", type=int, help="the preset's own if left out")
    parser.add_argument("--sh_degree", type=int, help="the preset's own if left out")
    parser.add_argument("--views_per_step", type=int, help="the preset's own if left out")
    parser.add_argument("--budget", type=float, help="of Gaussians, as in TrainConfig; the preset's own if left out")
    parser.add_argument("--prune_opacity", type=float, help="as in TrainConfig; the preset's own if left out")
    parser.add_argument("--compile", action="store_true", help="only time the compilation into an empty cache")
    parser.add_argument("--curve", action="store_true", help="train once more and note the PSNR every 100 iterations")
    return parser.parse_args()


@contextmanager
def empty_cache() -> Iterator[None]:
    """Nothing that an earlier run kept on the disk is found inside."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        mock.patch.dict(os.environ, XDG_CACHE_HOME=folder),
    ):
        yield


def seconds_compiling(device: torch.device) -> float:
    """From nothing to loaded kernels."""
    torch.zeros(1, device=device)
    with empty_cache():
        began = time.perf_counter()
        CudaRuntime(device.index)
        return time.perf_counter() - began


def from_png_to_ply(
    data_path: Path, classname: str, config: TrainConfig, device: torch.device
) -> tuple[dict[str, Any], Gaussians, list[View]]:
    """Reads, trains and saves; the first CUDA call is outside of the clock, evaluation too.

    The pictures are decoded, whatever the cache of decoded ones holds.
    """
    CudaRuntime(device.index)  # compiles the kernels where that has not been done
    torch.cuda.reset_peak_memory_stats(device)
    with empty_cache():
        began = time.perf_counter()
        views = training_views(data_path, classname, None)
        read = time.perf_counter()
    result = train(views, config, device=device)
    trained = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        save_ply(Path(folder) / "point_cloud.ply", result.gaussians)
    saved = time.perf_counter()
    figures = {
        "class": classname,
        "width": views[0].camera.width,
        "training_views": len(views),
        "sh_degree": config.sh_degree,
        "iterations": config.iterations,
        "views_per_step": config.views_per_step,
        "seconds_reading": read - began,
        "seconds_training": result.seconds,
        "seconds_evaluating": trained - read - result.seconds,
        "seconds_saving": saved - trained,
        "seconds_png_to_ply": saved - began - (trained - read - result.seconds),
        "psnr_training_views": result.psnr,
        "gaussians": len(result.gaussians),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
    }
    return figures, result.gaussians, views


@torch.no_grad()
def frames_per_second(model: Gaussians, views: list[View]) -> float:
    """Frames drawn per second in batches of 64 cameras, the best of five."""
    cameras = [views[i % len(views)].camera for i in range(_BATCH)]
    render(model, cameras)
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        render(model, cameras)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return _BATCH / best


def profile(model: Gaussians, views: list[View], config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Microseconds of each kernel of a training step of the finished model, and of the whole step by the clock."""
    engine = CudaEngine(device)
    engine.set_views(views, views[0].camera.width, views[0].camera.height)
    state = TrainingState.start(model)
    order = view_order(len(views), config, torch.Generator().manual_seed(0))[:_STEPS]
    rates = {k: v[-1:].repeat(_STEPS) * 0 for k, v in learning_rates(config, views).items()}
    engine.run(state, order, rates, config.loss)
    torch.cuda.synchronize()
    began = time.perf_counter()
    engine.run(state, order, rates, config.loss)
    result = {"step": (time.perf_counter() - began) / len(order) * 1e6, "engine_megabytes": engine.memory_bytes / 1e6}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
        engine.run(state, order, rates, config.loss)
        torch.cuda.synchronize()
    for event in trace.key_averages():
        if event.count >= len(order):
            result[event.key[:40]] = event.device_time_total / len(order)
    return result


if __name__ == "__main__":
    main()
