"""Times the rasterizer on the CPU: every stage, whole passes, and how much slower the plain-torch reference is.

    python -m benchmarks.bench_rasterizer [--threads 2] [--repeat 20]

The scene is a sphere of random Gaussians that covers some 30 % of the picture, each covered pixel blending about 30.
The loss compares it with a picture that differs everywhere. Best of the repetitions, in milliseconds.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from diff_gaussian_rasterization import photometric_loss, rasterize
from diff_gaussian_rasterization.cpu import rasterize as cpu
from diff_gaussian_rasterization.cpu.loader import call
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from diff_gaussian_rasterization.types import Scene
from torch import Tensor

from benchmarks.results_file import save_result

SIZES = ((200, 10_000), (400, 30_000), (800, 30_000), (800, 100_000))  # picture's side in px, Gaussians
REFERENCE_SIZE = (200, 10_000)
STAGES = ("project", "bin", "blend", "blend_backward", "project_backward", "photometric_loss")


def sphere(count: int, side: int) -> Scene:
    """The Gaussians of the module's docstring, which want gradients, and a camera that looks at them."""
    g = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g)

    z, angle = 2 * uniform(count) - 1, 2 * math.pi * uniform(count)
    ring = (1 - z * z).sqrt()
    typical = 0.42 * math.sqrt(4 * math.pi / count)
    gaussians = [
        torch.stack((ring * angle.cos(), ring * angle.sin(), z), dim=-1),
        typical * torch.exp(0.8 * (2 * uniform(count, 3) - 1)),
        2 * uniform(count, 4) - 1,
        0.05 + 0.9 * uniform(count) * uniform(count),
        uniform(count, 3),
    ]
    cam_from_world = torch.eye(4)[None].clone()
    cam_from_world[0, 2, 3] = 2
    focal = 0.309 * side * math.sqrt(3)
    intrinsics = torch.tensor([[focal, focal, side / 2, side / 2]])
    means, scales, quats, opacities, colors = (t.requires_grad_() for t in gaussians)
    cameras = (cam_from_world, intrinsics, side, side)
    return Scene(means, scales, quats, opacities, colors, *cameras, torch.ones(3))


def best_ms(run: Callable[[], object], repeat: int) -> float:
    """The shortest of `repeat` runs after one to warm up."""
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


class StageTimes:
    """Stands in for the kernels' `call` and keeps the shortest time of each."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = call(name, *args, **kwargs)
        taken = 1e3 * (time.perf_counter() - start)
        stage = name.removeprefix("gs_")
        self.ms[stage] = min(self.ms.get(stage, taken), taken)
        return result


def measure(side: int, count: int, repeat: int) -> dict[str, Any]:
    """All times of one size."""
    scene = sphere(count, side)
    target = torch.full((1, side, side, 3), 128, dtype=torch.uint8)
    ones = torch.ones(1, 3, side, side)

    def forward() -> Tensor:
        return rasterize(scene).image

    def forward_backward() -> None:
        torch.autograd.grad(forward(), scene.cloud, ones)

    def with_loss() -> None:
        torch.autograd.grad(photometric_loss(forward(), target), scene.cloud)

    result: dict[str, Any] = {"side_px": side, "gaussians": count}
    stages = StageTimes()
    cpu.call = stages
    with_loss()
    for name, run in (("forward", forward), ("forward_backward", forward_backward), ("with_loss", with_loss)):
        result[f"{name}_ms"] = round(best_ms(run, repeat), 3)
    cpu.call = call
    result["stages_ms"] = {stage: round(stages.ms[stage], 3) for stage in STAGES}
    if (side, count) == REFERENCE_SIZE:
        reference = best_ms(lambda: torch.autograd.grad(rasterize_reference(scene).image, scene.cloud, ones), 2)
        result["reference_forward_backward_ms"] = round(reference, 1)
        result["reference_times_slower"] = round(reference / result["forward_backward_ms"], 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [measure(side, count, arguments.repeat) for side, count in SIZES]
    figures = {
        "threads": arguments.threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "sizes": results,
    }
    print(json.dumps(figures, indent=1))
    print(save_result("rasterizer_cpu", torch.device("cpu"), figures))


if __name__ == "__main__":
    main()
