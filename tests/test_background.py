"""A plain backdrop of any color: measured, flattened, and told from the object."""

import numpy as np
import pytest
import torch

from gaussian_splatting.background import flattened, measured_backdrop, object_mask


def picture(backdrop, spread=0.0, seed=0, size=60):
    """A square of (200, 40, 90) in the middle of a backdrop whose pixels stray evenly by up to `spread` levels."""
    rng = np.random.default_rng(seed)
    stray = rng.uniform(-spread, spread, (size, size, 1))
    image = np.clip(np.asarray(backdrop, float) + stray, 0, 255)
    image[20:40, 20:40] = (200, 40, 90)
    return torch.from_numpy(image.round().astype(np.uint8))


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (235, 230, 220), (20, 160, 60)])
def test_a_clean_backdrop_is_measured_exactly_and_left_alone(color) -> None:
    image = picture(color)
    backdrop = measured_backdrop([image, image])
    assert backdrop.levels.tolist() == pytest.approx(color, abs=1e-4)
    assert backdrop.tolerance == 0 and backdrop.is_plain
    assert flattened(image, backdrop.tolerance) is image
    assert object_mask(image.numpy(), backdrop).sum() == 400


@pytest.mark.parametrize("color", [(230, 230, 230), (25, 22, 20), (128, 130, 125)])
def test_a_backdrop_with_folds_and_noise_becomes_one_color(color) -> None:
    images = [picture(color, spread=18, seed=seed) for seed in range(4)]
    backdrop = measured_backdrop(images)
    assert backdrop.is_plain and 15 / 255 < backdrop.tolerance < 25 / 255
    flat = flattened(images[0], backdrop.tolerance).numpy()
    outside = np.ones(flat.shape[:2], bool)
    outside[20:40, 20:40] = False
    assert (np.abs(flat[outside].astype(int) - np.median(flat[outside], 0)).max(1) <= 3).mean() > 0.95
    assert np.abs(flat[25:35, 25:35].astype(int) - (200, 40, 90)).max() <= 255 * backdrop.tolerance
    assert object_mask(images[0].numpy(), backdrop)[20:40, 20:40].all()
    assert object_mask(images[0].numpy(), backdrop)[outside].mean() < 0.05


def test_flattening_is_continuous_and_leaves_far_colors_alone() -> None:
    ramp = torch.zeros(3, 256, 3, dtype=torch.uint8)
    ramp[1, :, :] = torch.arange(256, dtype=torch.uint8)[:, None]
    values = flattened(ramp, 20 / 255)[1, :, 0].int()
    assert (values[:21] == 0).all()
    assert (values[101:] == torch.arange(101, 256)).all()
    assert values.diff().min() >= 0 and values.diff().max() <= 2


def test_clutter_is_not_plain() -> None:
    rng = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (40, 40, 3), generator=rng, dtype=torch.uint8) for _ in range(3)]
    assert not measured_backdrop(images).is_plain


def test_no_pictures() -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        measured_backdrop([])
