"""Random scenes, drawn by the CPU's kernels in double and in float, by the GPU's kernels, and by the reference: sizes
from 1 to 4,000 pixels, none to many Gaussians, cameras of any kind, and numbers that no scene should hold.

Double must equal the reference; float must stay finite and, all over the picture, near it. Gradients are compared on
every third scene. Without a GPU, a compiler runs the GPU's kernels on the host, those of small pictures alone: what is
counted as "emulated" saw no GPU.
"""

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from diff_gaussian_rasterization import rasterize
from diff_gaussian_rasterization.cuda import rasterize as cuda
from diff_gaussian_rasterization.cuda.launch import register_runtime
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from diff_gaussian_rasterization.types import PictureGradient, Scene
from torch import Tensor

from benchmarks.faults.workers import Outcome, Trials, in_time
from tests.cuda_emulator import EmulatedRuntime, available
from tests.splat_scenes import picture_gradients, random_scene, scene_on, values_and_gradients

_MOST_WORK = 3e6  # Gaussians times pixels: the reference looks at each at every pixel
_ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-310, 1e-40, 1e30, -1e30, 3e38, 1e300, 1e-7)
_POKED = ("means", "scales", "quats", "opacities", "colors", "screen_offsets")
_FAR = 1e-7  # of double against the reference, as a share of what the picture holds
_LARGEST = (
    1e6  # place, scale or opacity: beyond, no digit is left of the smaller axis or of the edge, any picture is right
)
_FLOAT_MEAN = 2e-3  # of float against double, over the picture: single pixels fall on another side of a threshold
_FLOAT_GRADIENT = 1e-3  # likewise, of a gradient's length
_EMULATED_PIXELS = 4096


def prepare(seed: int, workspace: Path) -> Trials:
    """The trials, drawn by their numbers."""
    gpu = "GPU" if torch.cuda.device_count() else "emulated" if available() else None  # counting starts no CUDA
    if gpu == "emulated":
        register_runtime(torch.device("cpu"), EmulatedRuntime(workspace))

    def trials(numbers: Sequence[int], _: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            scene, said = random_case(random.Random(f"{seed} {number}"))
            kind, figures = "odd numbers" if "=" in said else "ordinary", {}
            counts = {kind: 1}
            try:
                figures["off"], fault = compared(scene, with_gradients=number % 3 == 0)
                if gpu == "GPU" or gpu and pixels_of(scene) <= _EMULATED_PIXELS:
                    counts[gpu] = 1
                    off, gpu_fault = gpu_compared(scene, "cuda" if gpu == "GPU" else "cpu", kind, number % 3 == 0)
                    fault, figures["off on a GPU"] = fault or gpu_fault, off
            except Exception as error:  # whatever a kernel may raise
                fault = f"{type(error).__name__}: {error}"
            yield Outcome(number, counts, figures, fault and f"{said}: {fault}")

    return trials


def random_case(draw: random.Random) -> tuple[Scene, str]:
    """A scene in double, and what it is."""
    width, height = (round(10 ** draw.uniform(0, math.log10(4000))) for _ in range(2))
    views, sh = draw.choice((1, 1, 2, 3)), draw.choice((0, 1, 4, 9, 16))
    count = min(draw.choice((0, 1, 2, 5, 17, 256, 257, 2000)), int(_MOST_WORK / (width * height * views)))
    scene = random_scene(count, width, height, views=views, sh=sh, seed=draw.randrange(1 << 30))
    said = f"{count} Gaussians, {width}x{height}, {views} views, sh {sh}"
    if draw.random() < 0.5:
        focal = width * 10 ** draw.uniform(-1, 1.5)
        center = draw.uniform(-1, 2) * width, draw.uniform(-1, 2) * height
        scene = scene._replace(
            intrinsics=torch.tensor((focal, focal * draw.uniform(0.5, 2), *center)).double().repeat(views, 1)
        )
        said += f", focal {focal:.1f}, center {center[0]:.0f} {center[1]:.0f}"
    if count and draw.random() < 0.6:
        for _ in range(draw.randrange(1, 5)):
            name, value = draw.choice(_POKED), draw.choice(_ODD)
            tensor = getattr(scene, name).clone()
            at = draw.randrange(tensor.numel())
            tensor.view(-1)[at] = value
            scene = scene._replace(**{name: tensor})
            said += f", {name}[{at}] = {value}"
    return scene, said


def compared(scene: Scene, with_gradients: bool) -> tuple[float, str | None]:
    """How far double is from the reference, and what is wrong."""
    single = rasterize(scene_on(scene, torch.float32)).image
    if any(not bool(getattr(scene, name).float().isfinite().all()) for name in ("colors", "screen_offsets")):
        return 0.0, None  # what is no number is drawn by one and left out by the other where it weighs nothing
    if not bool(single.isfinite().all()):
        return 0.0, "float: a picture of finite colors is not finite"
    if any(bool((x.abs().nan_to_num(0, 0) > _LARGEST).any()) for x in (scene.means, scene.scales, scene.opacities)):
        return 0.0, None
    if with_gradients:
        out, gradients = values_and_gradients(rasterize, scene)
        expected, wanted = values_and_gradients(rasterize_reference, scene)
        for name, want in wanted.items():
            usable = want.isfinite() & (want.abs() < 1e100)
            if (
                usable.any()
                and float((gradients[name] - want)[usable].norm()) > 1e-6 * float(want[usable].norm()) + 1e-12
            ):
                return 0.0, f"the gradient of {name} differs"
    else:
        out, expected = rasterize(scene), rasterize_reference(scene)
    off = 0.0
    for got, want in zip(out[:3], expected[:3], strict=True):
        same = (got == want) | (got.isnan() & want.isnan())
        got, want = got.detach(), want.detach()
        off = max(
            off,
            float(((got - want).abs() / (1 + want.abs()))[~same].nan_to_num(math.inf).max()) if not same.all() else 0.0,
        )
    if off > _FAR:
        return off, f"double is {off:.1e} from the reference"
    if out.image.numel() and float(out.image.detach().abs().max()) < 100:
        mean = float((single - out.image.detach()).abs().mean())
        if mean > _FLOAT_MEAN and out.image.numel() > 300:
            return off, f"float is {mean:.1e} from double"
    return off, None


def pixels_of(scene: Scene) -> int:
    return scene.width * scene.height * len(scene.cam_from_world)


def gpu_compared(scene: Scene, device: str, kind: str, with_gradients: bool) -> tuple[float, str | None]:
    """How far the GPU's kernels are from double, over the picture, and what is wrong."""
    single = scene_on(scene, torch.float32)
    there = scene_on(single, device)
    drawn = cuda.forward(there)
    if kind == "odd numbers":
        finite = all(bool(getattr(single, name).isfinite().all()) for name in ("colors", "screen_offsets"))
        return 0.0, "GPU: a picture of finite colors is not finite" if finite and not all_finite(drawn.image) else None
    double = rasterize(scene)
    off = max((mean_off(*pair) for pair in zip(drawn[:2], double[:2], strict=False)), default=0.0)
    if off > _FLOAT_MEAN and pixels_of(scene) > 300:
        return off, f"GPU: {off:.1e} from double"
    if with_gradients:
        expected, wanted = values_and_gradients(rasterize, scene)
        state = [drawn.image, drawn.alpha, drawn.depth, drawn.radii, *drawn.state]
        outer = PictureGradient(*(v.to(there.means) for v in picture_gradients(expected)))
        gradients = cuda.backward(there, state, outer)._asdict()
        _, in_float = values_and_gradients(rasterize, single)
        for name, want in wanted.items():
            ours, cpus = (float((of[name].cpu().double() - want).norm()) for of in (gradients, in_float))
            if ours > _FLOAT_GRADIENT * float(want.norm()) + 3 * cpus + 1e-6:
                return off, f"GPU: the gradient of {name} is {ours:.1e} from double, and the CPU's in float {cpus:.1e}"
    return off, None


def all_finite(picture: Tensor) -> bool:
    return bool(picture.isfinite().all())


def mean_off(ours: Tensor, double: Tensor) -> float:
    return float((ours.cpu().double() - double).abs().mean()) if double.numel() else 0.0
