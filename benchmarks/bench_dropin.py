"""Milliseconds of an iteration of other people's 3DGS training loop over our GaussianRasterizer, part by part.

    python -m benchmarks.bench_dropin --name dropin [--counts 30000 100000] [--size 800] [--sh_degree 3]

The loop does, in this project's own words, what the published ones do in every iteration: activations of raw
parameters, one view, L1 and SSIM by convolutions of torch, backward, the statistics of densification, an Adam step per
group of parameters, and the loss read by the host. The scene is a ball of Gaussians; the pictures are drawings of it.
"""

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from diff_gaussian_rasterization import GaussianRasterizationSettings, GaussianRasterizer
from torch import Tensor

from benchmarks.results_file import save_result

PARTS = ("draw", "loss", "backward", "statistics", "step")
_WARM_UP = 20
_FOV = 0.69
_VIEWS = 30


class Model:
    """Raw parameters, an optimizer with a group for each, and what densification counts."""

    def __init__(self, count: int, sh_degree: int, device: torch.device) -> None:
        g = torch.Generator().manual_seed(0)
        direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)
        size = math.sqrt(4 * math.pi / count)
        raw = {
            "xyz": direction * (1 - 0.05 * torch.rand(count, 1, generator=g)),
            "dc": torch.randn(count, 1, 3, generator=g),
            "rest": 0.1 * torch.randn(count, (sh_degree + 1) ** 2 - 1, 3, generator=g),
            "opacity": torch.randn(count, 1, generator=g),
            "scaling": math.log(0.6 * size) + 0.3 * torch.randn(count, 3, generator=g),
            "rotation": torch.randn(count, 4, generator=g),
        }
        self.raw = {name: value.to(device).requires_grad_() for name, value in raw.items()}
        rates = {"xyz": 1.6e-4, "dc": 2.5e-3, "rest": 1.25e-4, "opacity": 0.05, "scaling": 5e-3, "rotation": 1e-3}
        groups = [{"params": [value], "lr": rates[name]} for name, value in self.raw.items()]
        self.optimizer = torch.optim.Adam(groups, lr=0.0, eps=1e-15)
        self.gradient_sum, self.drawn = (torch.zeros(count, 1, device=device) for _ in range(2))
        self.largest_radius = torch.zeros(count, device=device)

    def draw(self, settings: GaussianRasterizationSettings) -> tuple[Tensor, Tensor, Tensor]:
        """(picture, the tensor whose gradient is that of the projected means, radii)."""
        screen = torch.zeros_like(self.raw["xyz"], requires_grad=True) + 0
        if screen.requires_grad:
            screen.retain_grad()
        image, radii = GaussianRasterizer(settings)(
            means3D=self.raw["xyz"],
            means2D=screen,
            shs=torch.cat((self.raw["dc"], self.raw["rest"]), dim=1),
            opacities=torch.sigmoid(self.raw["opacity"]),
            scales=torch.exp(self.raw["scaling"]),
            rotations=torch.nn.functional.normalize(self.raw["rotation"]),
        )
        return image, screen, radii

    @torch.no_grad()
    def count_gradients(self, screen: Tensor, radii: Tensor) -> None:
        drawn = radii > 0
        assert screen.grad is not None
        self.largest_radius[drawn] = torch.maximum(self.largest_radius[drawn], radii[drawn].float())
        self.gradient_sum[drawn] += screen.grad[drawn, :2].norm(dim=-1, keepdim=True)
        self.drawn[drawn] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--counts", type=int, nargs="+", default=[30_000, 100_000], help="Gaussians")
    parser.add_argument("--size", type=int, default=800, help="of the pictures, in pixels")
    parser.add_argument("--sh_degree", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=200)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [measure(n, arguments.sh_degree, arguments.size, arguments.iterations, device) for n in arguments.counts]
    print(save_result(arguments.name, device, {"size": arguments.size, "rows": rows}))
    for row in rows:
        print(row)


def measure(count: int, sh_degree: int, size: int, iterations: int, device: torch.device) -> dict[str, Any]:
    """One row of the result: milliseconds in all and by part, and launches."""
    model, views = Model(count, sh_degree, device), cameras(size, sh_degree, device)
    with torch.no_grad():
        targets = [model.draw(view)[0].roll(1, 2) for view in views]
    run = [lambda i=i: iteration(model, views[i % _VIEWS], targets[i % _VIEWS]) for i in range(_WARM_UP + iterations)]
    for step in run[:_WARM_UP]:
        step()
    began = time.perf_counter()
    marks = [step() for step in run[_WARM_UP:]]
    synchronize(device)
    row: dict[str, Any] = {"gaussians": count, "sh_degree": sh_degree}
    row["milliseconds"] = (time.perf_counter() - began) / iterations * 1e3
    for at, name in enumerate(PARTS):
        row[name] = sum(marks_of[at + 1] - marks_of[at] for marks_of in marks) / iterations * 1e3
    return row | launches(run[-1], device)


def iteration(model: Model, view: GaussianRasterizationSettings, target: Tensor) -> list[float]:
    """The times (s) at which the host began each part and ended the last. The host waits as the published loops do: for
    the loss. Their parts are thus times of the host, but for the last, which also sees the GPU's."""
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    image, screen, radii = model.draw(view)
    mark()
    loss = 0.8 * (image - target).abs().mean() + 0.2 * (1 - ssim(image[None], target[None]))
    mark()
    loss.backward()
    mark()
    model.count_gradients(screen, radii)
    mark()
    model.optimizer.step()
    model.optimizer.zero_grad(set_to_none=True)
    loss.item()
    mark()
    return marks


def launches(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """How many kernels, copies and fills a step starts on the GPU, how long they take there, and how many are ours."""
    if device.type != "cuda":
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
        step()
        synchronize(device)
    ours = ("project_splats", "allocate_tiles", "scatter_splats", "sort_tiles", "blend_", "backward_splats")
    events = [event for event in trace.key_averages() if event.device_time_total > 0]
    mine = {e.key: round(e.device_time_total, 1) for e in events if e.key.startswith(ours)}
    return {
        "launches": sum(event.count for event in events),
        "gpu_microseconds": round(sum(event.device_time_total for event in events), 1),
        "our_kernels_microseconds": mine,
    }


def cameras(size: int, sh_degree: int, device: torch.device) -> list[GaussianRasterizationSettings]:
    """Views around the ball, as 3DGS's render() fills them in."""
    near, far, tangent = 0.01, 100.0, math.tan(_FOV / 2)
    projection = torch.zeros(4, 4)
    projection[0, 0] = projection[1, 1] = 1 / tangent
    projection[2, 2], projection[2, 3], projection[3, 2] = far / (far - near), -far * near / (far - near), 1.0
    found = []
    for k in range(_VIEWS):
        angle = 2 * math.pi * k / _VIEWS
        view = torch.eye(4)
        view[0, 0] = view[2, 2] = math.cos(angle)
        view[0, 2], view[2, 0] = math.sin(angle), -math.sin(angle)
        view[2, 3] = 4.0
        rows, full = view.T.to(device), (view.T @ projection.T).to(device)
        center = torch.linalg.inv(view)[:3, 3].to(device)
        white = torch.ones(3, device=device)
        found.append(
            GaussianRasterizationSettings(
                size, size, tangent, tangent, white, 1.0, rows, full, sh_degree, center, False, False
            )
        )
    return found


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """The mean SSIM by grouped 11x11 convolutions, as the published loops take it."""
    x = torch.arange(11, device=image.device) - 5
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line[None]).expand(3, 1, 11, 11)

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values, window, padding=5, groups=3)

    a, b = mean(image), mean(target)
    aa, bb, ab = mean(image * image) - a * a, mean(target * target) - b * b, mean(image * target) - a * b
    return ((2 * a * b + 1e-4) * (2 * ab + 9e-4) / ((a * a + b * b + 1e-4) * (aa + bb + 9e-4))).mean()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
