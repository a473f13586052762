"""The noise of a photograph is measured beside what the rendering explains, and moves score and threshold alike."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from PAD_utils.score.noise import NoiseResponse, learn_response, residual_noise


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.02, 0.04])
def test_white_noise_is_measured_in_spite_of_a_defect_and_a_shifted_edge(sigma: float) -> None:
    g = torch.Generator().manual_seed(0)
    rendering = 0.2 + 0.6 * F.interpolate(torch.rand(2, 3, 12, 12, generator=g), size=(120, 120), mode="nearest")
    query = rendering.roll(1, 3) + sigma * torch.randn(rendering.shape, generator=g)
    query[:, :, 40:60, 40:60] = 0.1
    shown = torch.zeros(2, 120, 120, dtype=torch.bool)
    shown[:, 10:110, 10:110] = True
    assert residual_noise(query, rendering, shown).tolist() == pytest.approx([sigma, sigma], rel=0.2, abs=1e-4)
    assert residual_noise(query, rendering, torch.zeros_like(shown)).tolist() == [0.0, 0.0]


def test_the_factor_is_one_for_the_usual_noise_and_interpolated_beyond() -> None:
    response = NoiseResponse(0.003, [0.0, 0.004, 0.01], [1.0, 0.8, 0.6])
    noise = torch.tensor([0.0, 0.003, 0.005, (0.003**2 + 0.007**2) ** 0.5, 0.5])
    assert response.of(noise).tolist() == pytest.approx([1.0, 1.0, 0.8, 0.7, 0.6], abs=1e-3)


def test_the_threshold_keeps_its_place_above_the_good_scores() -> None:
    """Noise lifts the mean from 10 to 12 and halves the spread: a threshold of 18 is then one of 12 + 8 / 2."""
    good = [8.0, 9.0, 10.0, 11.0, 12.0]
    noisy = [11.0, 11.5, 12.0, 12.5, 13.0]
    response = learn_response(18.0, [0.0, 0.001], [[0.001] * 5, [0.02] * 5], [good, noisy])
    assert response is not None
    assert response.factor == pytest.approx([1.0, 16 / 18])
    assert response.excess[1] == pytest.approx(0.02, rel=0.01)
    assert learn_response(18.0, [0.0], [[0.0]], [good[:4]]) is None
    assert learn_response(0.0, [0.0], [[0.0] * 5, [0.02] * 5], [[0.0] * 5, noisy]) is None


def test_no_good_view_is_judged_as_noisy() -> None:
    good_noise = [0.001, 0.002, 0.005]
    response = learn_response(
        18.0, good_noise, [[0.001] * 5, [0.004] * 5, [0.02] * 5], [[8.0, 9.0, 10.0, 11.0, 12.0]] * 3
    )
    assert response is not None and len(response.factor) == 2  # of the levels of noise, one is no more than usual
    assert replace(response, factor=[1.0, 0.5]).of(torch.tensor(good_noise)).tolist() == [1.0, 1.0, 1.0]
