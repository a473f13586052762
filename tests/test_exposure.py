"""Exposure per photograph: found against the model, taken out of the pictures, and left alone where there is none."""

from dataclasses import replace

import pytest
import torch

from gaussian_splatting.background import measured_backdrop
from gaussian_splatting.training.exposure import Exposures, ExposureSolver, corrected
from gaussian_splatting.training.schedule import TrainConfig
from gaussian_splatting.training.train import train
from gaussian_splatting.views import View
from tests.toy_scene import ball, views

WHITE = (1.0, 1.0, 1.0)


def exposed(taken: list[View], gains: torch.Tensor, offsets: torch.Tensor) -> list[View]:
    """The photographs with another gain and offset each; a white backdrop is clipped, as a camera does it."""
    pictures = [
        ((v.image / 255 * g + o) * 255).round().clamp(0, 255) for v, g, o in zip(taken, gains, offsets, strict=True)
    ]
    return [replace(v, image=p.to(torch.uint8)) for v, p in zip(taken, pictures, strict=True)]


def drawn(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gains within 20 % and offsets within 3 %, one and zero on average."""
    generator = torch.Generator().manual_seed(seed)
    gains = 1 + 0.4 * (torch.rand(count, 3, generator=generator) - 0.5)
    offsets = 0.06 * (torch.rand(count, 3, generator=generator) - 0.5)
    gains = gains / gains.mean(0)
    return gains, offsets - offsets.mean(0)


def test_known_exposures_are_found() -> None:
    gains, offsets = drawn(12)
    found = ExposureSolver(exposed(views(), gains, offsets), WHITE, "cpu").solve(ball())
    middle = 0.4 * gains + offsets - (0.4 * found.gain + found.offset)
    assert middle.abs().max() < 0.02  # where the colors of the ball lie
    assert found.gain.mean(0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_equal_exposures_leave_every_bit_alone() -> None:
    taken = views()
    found = ExposureSolver(taken, WHITE, "cpu").solve(ball())
    assert found.model is None and (found.gain == 1).all() and (found.offset == 0).all()
    assert all(a is b for a, b in zip(corrected(taken, found, WHITE), taken, strict=True))


def test_corrected_pictures_are_those_of_equal_exposure() -> None:
    taken = views()
    gains, offsets = drawn(12)
    found = Exposures(gains, offsets, ball())
    for before, after in zip(taken, corrected(exposed(taken, gains, offsets), found, WHITE), strict=True):
        assert (
            before.image.int() - after.image.int()
        ).abs().float().mean() < 2  # gray levels; outlines before a clipped white differ more


def test_training_takes_exposures_out() -> None:
    """Photographs of changing exposure give nearly the model of equal ones."""
    taken = views(count=24)
    gains, offsets = drawn(24, seed=1)
    changing = exposed(taken, gains, offsets)
    config = TrainConfig.fast(iterations=300)
    plain, solved, ignored = (
        train(pictures, settings, evaluate_views=taken).history[-1]["psnr"]
        for pictures, settings in (
            (taken, config),
            (changing, config),
            (changing, replace(config, exposure_at=())),
        )
    )
    assert solved > ignored + 3
    assert plain > solved  # nothing is free
    assert measured_backdrop([v.image for v in changing]).is_plain
