"""What is normal is learned from good pairs; exposure and noise are no defects; what was learned survives its file."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from PAD_utils.score.anomaly import ScoreConfig, _own_noise, score_pairs
from PAD_utils.score.exposure import matched_exposure, matched_light
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.normality import Normality, NormalityStatistics, shown_object, squared_gradient
from PAD_utils.score.usual import learn_normality


def bricks(count: int, size: int = 96) -> Tensor:
    """Pictures (n, 3, h, w) of random colored patches on white."""
    g = torch.Generator().manual_seed(1)
    small = 0.15 + 0.7 * torch.rand(count, 3, size // 8, size // 8, generator=g)
    pictures = F.interpolate(small, scale_factor=8, mode="nearest")
    border = torch.ones_like(pictures)
    border[..., 16:-16, 16:-16] = pictures[..., 16:-16, 16:-16]
    return border


def misaligned(pictures: Tensor, pixels: float = 0.3) -> Tensor:
    """What a rendering looks like: off by a fraction of a pixel, and a little noisy."""
    shifted = (1 - pixels) * pictures + pixels * pictures.roll(1, -1)
    return (shifted + 0.004 * torch.randn(shifted.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)


def test_normality_recovers_the_law_of_the_residuals() -> None:
    g = torch.Generator().manual_seed(0)
    rendered = torch.randn(6, 2, 64, 64, generator=g).cumsum(-1) * torch.linspace(0, 1, 64)
    variance = 0.04 + 0.5 * squared_gradient(rendered)
    difference = variance.sqrt() * torch.randn(rendered.shape, generator=g)
    statistics = NormalityStatistics()
    shown = torch.ones(6, 64, 64, dtype=torch.bool)
    statistics.add([difference], [rendered], [shown])
    normality = statistics.finish()
    ratio = difference.square() / normality.expected(0, rendered)
    assert 0.5 < float(ratio.mean()) < 1.4  # the floor holds what little gradient flat places have
    assert 0.3 < float(normality.edge[0].mean()) < 0.6


def test_a_dent_counts_more_than_an_edge_that_is_off_by_a_fraction() -> None:
    good = bricks(8)
    renderings = misaligned(good)
    config = ScoreConfig.fast()
    normality = learn_normality(GradientFeatures(), good[:6], renderings[:6], config)
    dented = good[6:].clone()
    dented[:, :, 42:46, 42:46] += 0.12  # less than many edges around it
    dented = dented.clamp(0, 1)
    fresh = score_pairs(
        GradientFeatures(), torch.cat((good[6:], dented)), renderings[6:].repeat(2, 1, 1, 1), config, normality
    )
    assert fresh.image_scores[2:].min() > 1.2 * fresh.image_scores[:2].max()
    row, column = divmod(int(fresh.maps[2].argmax()), 96)
    assert 38 <= row < 50 and 38 <= column < 50


def test_another_exposure_is_undone_in_spite_of_a_defect() -> None:
    renderings = bricks(3)
    queries = (0.8 * renderings + 0.03).clamp(0, 1)
    queries[:, :, 40:48, 40:48] = 0.0
    matched = matched_exposure(renderings, queries, torch.ones(3, 96, 96, dtype=torch.bool))
    elsewhere = torch.ones(96, 96, dtype=torch.bool)
    elsewhere[40:48, 40:48] = False
    assert float((matched - queries)[..., elsewhere].abs().max()) < 0.01


def test_a_white_background_stays_white_whatever_the_object_asks_for() -> None:
    renderings = bricks(2)
    queries = F.avg_pool2d(renderings, 5, stride=1, padding=2, count_include_pad=False)  # less contrast than before
    matched = matched_exposure(renderings, queries, shown_object(renderings))
    assert float(matched[..., :12, :].min()) > 0.98


def test_the_exposure_is_told_by_the_object_and_not_by_what_the_rendering_is_laid_over() -> None:
    """Around a cut-out part that is the photograph itself: equal, and more of the picture than the part."""
    renderings = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    shown = torch.zeros(2, 96, 96, dtype=torch.bool)
    shown[:, 30:60, 30:60] = True
    gains = torch.tensor([[0.8, 0.85, 0.78], [1.1, 1.0, 1.05]])[..., None, None]
    queries = torch.where(shown[:, None], gains * renderings, renderings).clamp(0, 1)
    matched = matched_exposure(renderings, queries, shown)
    assert (matched - queries).abs().max() < 0.01


def test_a_lamp_that_was_moved_is_undone_and_a_stain_is_not() -> None:
    renderings = bricks(2, 192)
    shown = renderings.amin(1) < 0.97
    light = torch.linspace(0.85, 1.1, 192)
    queries = torch.where(shown[:, None], renderings * light, renderings).clamp(0, 1)
    queries[..., 90:100, 90:100] = 0.0
    matched = matched_light(renderings, queries, shown)
    error = (matched - queries).abs().amax(1)
    error[..., 90:100, 90:100] = 0
    assert float(error.mean()) < 0.33 * float((renderings - queries).abs().amax(1).mean())
    torch.testing.assert_close(matched[..., 94, 94], (renderings * light)[..., 94, 94], atol=0.06, rtol=0)
    torch.testing.assert_close(matched[..., :8, :], renderings[..., :8, :])


@pytest.mark.parametrize("height, width", [(1, 1), (5, 9), (33, 50)])
def test_light_of_any_size(height: int, width: int) -> None:
    pictures = 0.5 * torch.rand(2, 3, height, width)
    everywhere = torch.ones(2, height, width, dtype=torch.bool)
    torch.testing.assert_close(matched_light(pictures, pictures, everywhere), pictures)


def test_blank_and_saturated_pictures_are_left_alone() -> None:
    white = torch.ones(1, 3, 32, 32)
    everywhere = torch.ones(1, 32, 32, dtype=torch.bool)
    torch.testing.assert_close(matched_exposure(white, white, everywhere), white)
    torch.testing.assert_close(matched_exposure(bricks(1, 32), white, everywhere), bricks(1, 32))


@pytest.mark.parametrize("count", [1, 2])
def test_a_rendering_that_shows_nothing_keeps_its_exposure(count: int) -> None:
    rendering, query = torch.rand(2, count, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(count, 96, 96, dtype=torch.bool)
    torch.testing.assert_close(matched_exposure(rendering, query, nothing), rendering)


def test_one_picture_alone_is_matched_as_among_others() -> None:
    rendering, query = torch.rand(2, 2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    shown = torch.rand(2, 96, 96, generator=torch.Generator().manual_seed(3)) > 0.7
    query = 0.8 * rendering + 0.1 * query
    together = matched_exposure(rendering, query, shown)
    alone = [matched_exposure(rendering[i : i + 1], query[i : i + 1], shown[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(torch.cat(alone), together)


def test_the_largest_of_nine_pixels_is_that_of_max_pooling() -> None:
    features = torch.rand(2, 5, 17, 23, generator=torch.Generator().manual_seed(4))
    x = torch.nn.functional.pad(features, (1, 1, 1, 1), mode="replicate")
    across, down = 0.5 * (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]), 0.5 * (x[..., 2:, 1:-1] - x[..., :-2, 1:-1])
    expected = torch.nn.functional.max_pool2d(across.square() + down.square(), 3, stride=1, padding=1)
    assert torch.equal(squared_gradient(features), expected)


def test_scores_hardly_move_with_exposure() -> None:
    good = bricks(2)
    renderings = misaligned(good)
    darker = 0.85 * good
    config = ScoreConfig.fast()
    plain = score_pairs(GradientFeatures(), good, renderings, config).image_scores
    dark = score_pairs(GradientFeatures(), darker, renderings, config).image_scores
    assert float((dark / plain - 1).abs().max()) < 0.15


def test_other_features_and_no_views_are_refused() -> None:
    normality = Normality([torch.ones(2)], [torch.ones(2)], [1.0])
    with pytest.raises(ValueError, match="other features"):
        normality.expected(0, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="no view"):
        NormalityStatistics().finish()


def test_a_channel_that_is_silent_on_good_views_does_not_shout() -> None:
    """Networks with rectified outputs have such channels; a speck in one must not outweigh a spot in all others."""
    g = torch.Generator().manual_seed(0)
    rendered = torch.zeros(6, 9, 32, 32)
    difference = 0.1 * torch.randn(rendered.shape, generator=g)
    difference[:, 8] = 0
    statistics = NormalityStatistics()
    statistics.add([difference], [rendered], [torch.ones(6, 32, 32, dtype=torch.bool)])
    normality = statistics.finish()
    speck, spot = torch.zeros(1, 9, 32, 32), torch.zeros(1, 9, 32, 32)
    speck[:, 8, 16, 16], spot[:, :8, 16, 16] = 0.1, 0.3
    ratios = [(x.square() / normality.expected(0, rendered[:1])).mean(1).max() for x in (speck, spot)]
    assert 0 < ratios[0] < ratios[1]


def test_noise_is_allowed_for_on_the_object_and_beside_it() -> None:
    """A network that answers to noise on white alone: without an allowance all of the white would be a defect."""
    shown = torch.zeros(1, 32, 32, dtype=torch.bool)
    shown[:, 8:24, 8:24] = True
    ratio = torch.where(shown, 1.5, 40.0) + torch.zeros(1, 32, 32)
    allowed = _own_noise(ratio, shown, usual=0.5, reach=2)
    assert allowed[shown].unique().item() == 1.0
    assert allowed[~shown].unique().item() == 40.0
    assert _own_noise(ratio, shown, usual=2.0, reach=2)[shown].unique().item() == 0.0  # quieter than usual is no reason


def test_ringing_all_around_the_object_is_allowed_for_and_a_burr_is_not() -> None:
    shown = torch.zeros(1, 64, 64, dtype=torch.bool)
    shown[:, 20:44, 20:44] = True
    ringing, burr = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    ringing[:, 15:49, 15:49] = 5.0
    burr[:, 30:34, 44:52] = 5.0
    allowed = _own_noise(ringing, shown, usual=0.5, reach=5)
    assert allowed[0, 18, 30] == 5.0 and allowed[0, 47, 47] == 5.0 and allowed[0, 10, 30] == 0.0
    assert _own_noise(burr, shown, usual=0.5, reach=8).max() == 0.0
