"""Beside a part that was cut out: a burr counts, clutter and other surroundings do not; and how these are learned."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gaussian_splatting import Camera, PoseEstimate
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.quality import psnr
from gaussian_splatting.rendering import Rendering, render
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.surroundings import train_surroundings
from gaussian_splatting.views import View
from PAD_utils.inspector import Inspector, OtherModels
from PAD_utils.score.beside import Beside, far_behind, odd_beside
from tests.toy_scene import ball, cameras, views

SIDE = 96
RED, BLUE = torch.tensor([0.8, 0.25, 0.15]), torch.tensor([0.1, 0.2, 0.9])


def table(seed: int = 0) -> Tensor:
    """A mottled gray table."""
    coarse = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    return (0.4 + 0.25 * smooth).clamp(0, 1).expand(1, 3, SIDE, SIDE).clone()


def part() -> tuple[Tensor, Tensor]:
    """A red disk of radius 20 in the middle, over black, and its alpha."""
    y, x = torch.meshgrid(*[torch.arange(SIDE) - SIDE / 2 + 0.5] * 2, indexing="ij")
    alpha = (20.5 - torch.hypot(x, y)).clamp(0, 1)[None]
    return alpha[:, None] * RED[:, None, None], alpha


def seen(background: Tensor) -> Tensor:
    on_black, alpha = part()
    return on_black + (1 - alpha[:, None]) * background


def with_spot(picture: Tensor, color: Tensor) -> Tensor:
    """Six pixels wide and nine long, three pixels beside the disk."""
    picture = picture.clone()
    picture[0, :, 45:51, 71:80] = color[:, None, None]
    return picture


def judged(query: Tensor, far: bool = False) -> Beside:
    noise = 0.01 * torch.randn(query.shape, generator=torch.Generator().manual_seed(7))
    everywhere = torch.full((1, SIDE, SIDE), far)
    return odd_beside((query + noise).clamp(0, 1), seen(table()), *part(), everywhere, (SIDE, SIDE))


@pytest.mark.parametrize("gain", [1.0, 0.8, 1.15])
def test_a_burr_counts_and_nothing_else(gain: float) -> None:
    assert judged(gain * seen(table())).counts.max() == 0
    counts = judged(gain * with_spot(seen(table()), RED)).counts[0]
    assert counts[46:50, 72:79].min() > 0.9
    counts[40:56, 66:85] = 0
    assert counts.max() == 0


def test_a_faint_spot_counts_less_before_what_is_far_and_was_seen_by_few_views() -> None:
    behind = seen(table())[0, :, 45:51, 71:80].mean((1, 2))
    faint = with_spot(seen(table()), 0.54 * RED + 0.46 * behind)  # hardly nearer to the part than to the table
    near, far = (judged(faint, far=far).counts[0, 46:50, 72:79].max() for far in (False, True))
    assert near > far + 0.3


def test_what_stands_half_as_far_again_as_the_part_is_far() -> None:
    alpha, deep = torch.zeros(1, 4, 6), torch.tensor([2.0, 2.0, 2.0, 2.9, 3.1, 0.0]).expand(1, 4, 6)
    alpha[..., :3] = 1.0
    some = torch.zeros(1, 3, 4, 6), torch.zeros(1, 0, dtype=torch.int32)
    there = Rendering(some[0], (deep > 0).float(), deep, some[1])
    far = far_behind(Rendering(some[0], alpha, alpha * deep, some[1]), there)
    assert far[0, 0].tolist() == [False, False, False, False, True, False]


def test_clutter_that_is_not_colored_like_the_part_does_not_count() -> None:
    assert judged(with_spot(seen(table()), BLUE)).counts.max() == 0


def test_before_another_table_nothing_counts() -> None:
    striped = table()
    striped[..., ::6, :] = RED[:, None, None].mean()
    striped[..., ::8] = torch.tensor([0.7, 0.3, 0.2])[:, None, None]
    assert judged(seen(striped)).counts.max() == 0


def test_of_a_larger_photograph_the_same_counts() -> None:
    query = with_spot(seen(table()), RED)
    large = [torch.nn.functional.interpolate(x, scale_factor=2) for x in (query, seen(table()), part()[0])]
    alpha = torch.nn.functional.interpolate(part()[1][:, None], scale_factor=2)[:, 0]
    counts = odd_beside(large[0], large[1], large[2], alpha, torch.zeros_like(alpha) > 0, (SIDE, SIDE)).counts
    assert counts.shape == (1, 2 * SIDE, 2 * SIDE) and counts[0, 92:100, 144:158].min() > 0.9


def floor(count: int = 900, seed: int = 3) -> Gaussians:
    """A flat, colorful square under the ball."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.cat((4 * torch.rand(count, 2, generator=generator) - 2, torch.full((count, 1), -0.55)), dim=1)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    sh = ((torch.rand(count, 1, 3, generator=generator) - 0.5) * 0.6) / SH_C0
    return Gaussians(means, torch.full((count, 3), math.log(0.09)), quats, torch.full((count,), 4.0), sh)


def whole() -> Gaussians:
    """The ball on its floor, in the dark."""
    return both(ball(), floor())


def both(some: Gaussians, others: Gaussians) -> Gaussians:
    return Gaussians(**{name: torch.cat((v, others.as_dict()[name])) for name, v in some.as_dict().items()})


def photograph(model: Gaussians, camera: Camera) -> Tensor:
    return (render(model, [camera], (0.0, 0.0, 0.0)).image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)


def cut_outs() -> list[View]:
    """From above, each with its photograph."""
    taken = []
    for camera, cut in zip(cameras(40, 64)[:20], views(count=40, size=64)[:20], strict=True):
        alpha = (255 * render(ball(), [camera]).alpha[0, ..., None]).round().byte()
        taken.append(View(cut.name, camera, cut.image, torch.cat((photograph(whole(), camera), alpha), 2)))
    return taken


def test_an_inspector_finds_a_burr_before_the_floor_and_so_does_a_saved_one(tmp_path: Path) -> None:
    seen = cut_outs()
    inspector = Inspector(ball(), seen, "gradient", others=OtherModels(surroundings=whole()))
    inspector.save(tmp_path)
    camera = seen[12].camera
    side = camera.cam_from_world[0, :3].float()  # to the right in the picture
    rightmost = (ball().means @ side).argmax()
    burr = replace(ball()[rightmost.repeat(12)], means=torch.linspace(0.6, 0.8, 4).repeat(3)[:, None] * side)
    pictures = [photograph(model, camera) for model in (whole(), both(whole(), burr))]
    at_pose = [PoseEstimate(camera, 0.0, 0, True)] * 2
    column = round(camera.cx + camera.fx * 0.7 / 3)
    seeing, loaded, blind = (
        [c.map[29:35, column - 2 : column + 3].max() for c in one.compare(pictures, at_pose)]
        for one in (inspector, Inspector.load(tmp_path), Inspector(ball(), seen, "gradient"))
    )
    assert seeing == loaded
    assert seeing[1] > 2 * seeing[0] and seeing[1] > 2 * blind[1]


class AtTheirPoses:
    """Takes the first hypothesis for the pose."""

    name = "none"

    def refine(self, _: object, images: Tensor, starts: list[list[Camera]]) -> list[PoseEstimate]:
        return [PoseEstimate(cameras[0], 0.0, 0, True) for cameras in starts]


class There:
    """Proposes the pose of each camera."""

    name = "there"

    def hypotheses(self, images: Tensor, cameras: list[Camera], count: int) -> list[list[Camera]]:
        return [[camera] for camera in cameras]


def test_photographs_before_other_surroundings_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    seen, helpers = cut_outs(), OtherModels(surroundings=whole())
    inspector = Inspector(ball(), seen, "gradient", retriever=There(), refiner=AtTheirPoses(), others=helpers)
    camera = seen[2].camera  # steeply from above: it shows the floor alone
    for model, times in ((whole(), 0), (both(ball(), floor(seed=9)), 1), (both(ball(), floor(seed=9)), 1)):
        pictures = photograph(model, camera)[None]
        inspector.localize(pictures, [camera], pictures)
        assert caplog.text.count("other surroundings") == times


def test_surroundings_are_learned_from_whole_photographs() -> None:
    taken = cut_outs()
    config = TrainConfig.fast(300)
    learned = train_surroundings(ball(), [v for i, v in enumerate(taken) if i != 9], config, device=torch.device("cpu"))
    found = render(learned, [taken[9].camera], (0.0, 0.0, 0.0)).image
    truth = taken[9].photograph[None]
    without = render(ball(), [taken[9].camera]).image
    assert psnr(found, truth) > psnr(without, truth) + 8
    with pytest.raises(ValueError, match="photograph"):
        train_surroundings(ball(), [replace(taken[0], uncut=None)], config, device=torch.device("cpu"))
