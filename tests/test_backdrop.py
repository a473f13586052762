"""Photographs before another backdrop than the good views: told by the model's alpha, never by a color."""

import pytest
import torch

from gaussian_splatting.background import WHITE_BACKDROP, Backdrop
from gaussian_splatting.rendering import render
from PAD_utils.score.backdrop import Pairs, over_backdrop, without_folds
from PAD_utils.score.beside import Beside, over_surroundings
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.levels import ScoreConfig, compare_levels
from tests.toy_scene import ball, cameras

BLACK = (0.0, 0.0, 0.0)


def drawn():
    """The ball over black, its alpha, and one photograph's worth of it."""
    out = render(ball(300), cameras(3, 64)[1:2], BLACK)
    return out.image, out.alpha


@pytest.mark.parametrize("color", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.84, 0.82, 0.8), (0.2, 0.6, 0.3)])
def test_a_photograph_before_any_plain_color_equals_its_rendering(color: tuple[float, float, float]) -> None:
    on_black, alpha = drawn()
    query = (on_black + (1 - alpha[:, None]) * torch.tensor(color)[:, None, None]).clamp(0, 1)
    pairs = over_backdrop(query, on_black, alpha, usual=(1.0, 1.0, 1.0))
    assert (pairs.queries - pairs.renderings).abs().max() < 1e-4
    assert torch.equal(pairs.queries, query)
    assert pairs.shown.sum() == (alpha > 0.03).sum()


def test_clutter_far_from_the_object_does_not_count_and_a_defect_does() -> None:
    on_black, alpha = drawn()
    clutter = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    query = on_black + (1 - alpha[:, None]) * clutter
    corner = over_backdrop(query, on_black, alpha, (1.0, 1.0, 1.0))
    assert torch.equal(corner.queries[..., :8, :8], corner.renderings[..., :8, :8])
    query[..., 30:35, 30:35] = 0.0
    pairs = over_backdrop(query, on_black, alpha, (1.0, 1.0, 1.0))
    assert torch.equal(pairs.queries[..., 30:35, 30:35], query[..., 30:35, 30:35])


def test_the_noise_of_a_backdrop_does_not_count_and_a_burr_and_noise_on_the_object_do() -> None:
    on_black, alpha = drawn()
    clean = on_black + (1 - alpha[:, None]) * 0.5
    noise = 0.01 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    query = clean + noise
    burr = (slice(None), slice(None), slice(2, 5), slice(2, 5))
    query[burr] = 0.3
    pairs = over_backdrop(query, on_black, alpha, (1.0, 1.0, 1.0))
    differs = (pairs.queries - pairs.renderings).abs().amax(1)
    beside = ~pairs.shown
    assert torch.equal(pairs.queries[burr], query[burr])
    assert (differs[beside] > 0).sum() <= 9 + 2, "one pixel in 10,000, and the burr"
    assert torch.equal(
        pairs.queries[pairs.shown[:, None].expand_as(query)], query[pairs.shown[:, None].expand_as(query)]
    )


def test_around_a_cut_out_part_nothing_counts_and_on_it_a_defect_does_in_full() -> None:
    on_black, alpha = drawn()
    clutter = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    query = (on_black + (1 - alpha[:, None]) * clutter).clamp(0, 1)
    pairs = over_surroundings(query, on_black, alpha, None)
    beside, inside = alpha[:, None].expand_as(query) < 0.004, alpha[:, None].expand_as(query) > 0.99
    assert torch.equal(pairs.queries, query)
    assert (pairs.queries - pairs.renderings)[beside].abs().max() < 0.005
    assert (pairs.queries - pairs.renderings)[inside].abs().max() < 0.02
    query[..., 30:35, 30:35] = 0.0
    marked = over_surroundings(query, on_black, alpha, None)
    assert torch.allclose(marked.renderings[..., 30:35, 30:35], pairs.renderings[..., 30:35, 30:35], atol=0.01)


def test_beside_a_cut_out_part_what_counts_is_held_against_the_surroundings() -> None:
    on_black, alpha = drawn()
    query, table = torch.full((1, 3, 64, 64), 0.3), torch.full((1, 3, 64, 64), 0.6)
    counts = torch.zeros(1, 64, 64)
    counts[0, 2:6, 2:6] = 1.0
    counts[0, 2:6, 10:14] = 0.5
    pairs = over_surroundings(query, on_black, alpha, Beside(table, counts))
    apart = (pairs.queries - pairs.renderings)[0, 0]
    torch.testing.assert_close(apart[2:6, 2:6], torch.full((4, 4), -0.3))
    torch.testing.assert_close(apart[2:6, 10:14], torch.full((4, 4), -0.15))
    assert apart[8:12, 2:6].abs().max() == 0


def test_a_photograph_full_of_object_takes_the_usual_color() -> None:
    on_black, alpha = torch.rand(1, 3, 20, 20), torch.full((1, 20, 20), 0.5)
    pairs = over_backdrop(torch.rand(1, 3, 20, 20), on_black, alpha, (0.2, 0.4, 0.6))
    expected = on_black + 0.5 * torch.tensor([0.2, 0.4, 0.6])[:, None, None]
    assert torch.allclose(pairs.renderings, expected.clamp(0, 1))


def test_a_white_part_on_white_is_object_by_its_alpha() -> None:
    """What a color cannot tell: the residuals of a white part are learned as an object's."""
    white = torch.ones(1, 3, 64, 64)
    white[..., 16:48, 16:48] -= 0.02 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = torch.zeros(1, 64, 64, dtype=torch.bool)
    shown[:, 16:48, 16:48] = True
    levels = compare_levels(GradientFeatures(), white, white, ScoreConfig.fast(), shown)
    by_color = compare_levels(GradientFeatures(), white, white, ScoreConfig.fast())
    assert levels.shown[0].sum() == 32 * 32 and by_color.shown[0].sum() == 0


def test_folds_of_a_cloth_do_not_count_and_a_missing_piece_or_a_dark_spot_does() -> None:
    """Black cloth of tolerance 0.1: a fold is brighter in the photograph than in the rendering; the part is bright."""
    rendering = torch.zeros(1, 3, 8, 8)
    rendering[..., 4:] = 0.6
    query = rendering.clone()
    query[..., 1, 1], query[..., 1, 6] = 0.2, 0.05
    query[..., 6, 1] = 0.7  # a burr
    pairs = Pairs(query, rendering, torch.ones(1, 8, 8, dtype=torch.bool))
    found = without_folds(pairs, Backdrop((0.0, 0.0, 0.0), 0.1))
    counts = (found.queries - found.renderings).abs().amax(1)[0] > 0
    assert counts.nonzero().tolist() == [[1, 6], [6, 1]]
    assert found.shown[0, :, 4:].all() and found.shown[0].sum() == 33
    assert without_folds(pairs, WHITE_BACKDROP) is pairs
