"""Random scenes, drawn by the compiled kernels in double and in float and by the reference: sizes from 1 to 4,000
pixels, none to many Gaussians, cameras of any kind, and numbers that no scene should hold.

Double must equal the reference; float must stay finite and, all over the picture, near it. Gradients are compared on
every third scene.
"""

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from diff_gaussian_rasterization import rasterize
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from diff_gaussian_rasterization.types import Scene

from benchmarks.faults.workers import Outcome, Trials, in_time
from tests.splat_scenes import random_scene, scene_on, values_and_gradients

_MOST_WORK = 3e6  # Gaussians times pixels: the reference looks at each at every pixel
_ODD = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-310, 1e-40, 1e30, -1e30, 3e38, 1e300, 1e-7)
_POKED = ("means", "scales", "quats", "opacities", "colors", "screen_offsets")
_FAR = 1e-7  # of double against the reference, as a share of what the picture holds
_LARGEST = (
    1e6  # place, scale or opacity: beyond, no digit is left of the smaller axis or of the edge, any picture is right
)
_FLOAT_MEAN = 2e-3  # of float against double, over the picture: single pixels fall on another side of a threshold


def prepare(seed: int, _: Path) -> Trials:
    """The trials, drawn by their numbers; nothing is written."""

    def trials(numbers: Sequence[int], _: Path) -> Iterator[Outcome]:
        for number in in_time(numbers):
            scene, said = random_case(random.Random(f"{seed} {number}"))
            try:
                off, fault = compared(scene, with_gradients=number % 3 == 0)
            except Exception as error:  # whatever a kernel may raise
                off, fault = 0.0, f"{type(error).__name__}: {error}"
            kind = "odd numbers" if "=" in said else "ordinary"
            yield Outcome(number, {kind: 1}, {"off": off}, fault and f"{said}: {fault}")

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
