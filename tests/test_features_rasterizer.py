"""Numbers drawn on Gaussians and lifted back onto them: by the CPU's kernels, and by the GPU's on the host emulator."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diff_gaussian_rasterization import Scene, lift_features, rasterize, rasterize_features
from diff_gaussian_rasterization.cuda import features as cuda
from diff_gaussian_rasterization.cuda.launch import register_runtime

from tests.cuda_emulator import EmulatedRuntime, available
from tests.splat_scenes import orbit_scene

VIEWS, COUNT, CHANNELS, WIDTH, HEIGHT = 2, 80, 5, 40, 30
Draw = Callable[[Scene, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Lift = Callable[[Scene, torch.Tensor], torch.Tensor]


@pytest.fixture(params=["cpu", "cuda"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Draw, Lift]]:
    if request.param == "cpu":
        yield rasterize_features, lift_features
        return
    if not available():
        pytest.fail("the emulator is built with g++")
    folder: Path = tmp_path_factory.mktemp("cuda_emulator")
    register_runtime(torch.device("cpu"), EmulatedRuntime(folder))
    yield cuda.rasterize, cuda.lift
    register_runtime(torch.device("cpu"), None)


def scene() -> Scene:
    made = orbit_scene(COUNT, 0, VIEWS, WIDTH, HEIGHT)
    return made._replace(background=torch.zeros(3))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_each_channel_of_each_view_is_drawn_as_a_color_is(kernels: tuple[Draw, Lift]) -> None:
    features = random(VIEWS, COUNT, CHANNELS)
    drawn, alpha = kernels[0](scene(), features)
    for view in range(VIEWS):
        for channel in range(CHANNELS):
            gray = scene()._replace(colors=features[view, :, channel, None].repeat(1, 3))
            expected = rasterize(gray)
            torch.testing.assert_close(drawn[view, channel], expected.image[view, 1], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(alpha[view], expected.alpha[view], rtol=1e-4, atol=1e-5)


def test_lifting_is_the_adjoint_of_drawing(kernels: tuple[Draw, Lift]) -> None:
    """<draw f, p> = <f, lift p> for each view and channel, and a lifted Gaussian has the sum of its weights."""
    features, pictures = random(VIEWS, COUNT, CHANNELS), random(VIEWS, CHANNELS, HEIGHT, WIDTH)
    drawn, lifted = kernels[0](scene(), features)[0], kernels[1](scene(), pictures)
    assert lifted.shape == features.shape
    torch.testing.assert_close((drawn * pictures).sum((2, 3)), (features * lifted).sum(1), rtol=1e-4, atol=1e-4)
    for i in range(0, COUNT, 17):  # its weight in each pixel: its picture when it alone is 1
        alone = torch.zeros(VIEWS, COUNT, 1)
        alone[:, i] = 1
        weight = kernels[0](scene(), alone)[0]
        torch.testing.assert_close(lifted[:, i], (pictures * weight).sum((2, 3)), rtol=1e-3, atol=1e-4)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"features: expected shape \(2, 80, C\)"):
        rasterize_features(scene(), torch.zeros(1, COUNT, 3))
    with pytest.raises(ValueError, match=r"pictures: expected shape \(2, C, 30, 40\)"):
        lift_features(scene(), torch.zeros(VIEWS, 3, WIDTH, HEIGHT))
