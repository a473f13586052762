"""What is usual at a place and from a direction: brought onto the model, averaged over directions, rendered, saved."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gaussian_splatting.rendering import render
from PAD_utils.score.anomaly import ScoreConfig, ratios_of, score_pairs
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.levels import compare_levels
from PAD_utils.score.local_normality import LocalNormality, LocalStatistics
from PAD_utils.score.usual import learn_normality
from tests.toy_scene import ball, cameras

BALL, CAMERAS = ball(400), cameras(40, size=40)


def on_object(index: int) -> Tensor:
    return render(BALL, [CAMERAS[index]]).alpha[0] > 0.9


def learned(maps: dict[int, Tensor], most_cells: int = 10**6) -> LocalNormality:
    """From ratios of two levels, 1 and 2 everywhere in every view but as said for some (the first level)."""
    statistics = LocalStatistics(BALL, most_cells)
    for i, camera in enumerate(CAMERAS):
        first = maps.get(i, torch.ones(40, 40))
        statistics.add([camera], torch.stack((first, torch.full((40, 40), 2.0)))[None])
    return statistics.finish()


def test_what_is_the_same_everywhere_is_expected_everywhere() -> None:
    levels = learned({}).expected(BALL, [CAMERAS[7]])[0]
    for level, value in zip(levels, (1.0, 2.0), strict=True):
        torch.testing.assert_close(level[on_object(7)], torch.full_like(level, value)[on_object(7)], rtol=0.1, atol=0)
    assert float(levels[:, 0, 0].abs().max()) == 0.0  # beside the object


def test_a_view_has_no_say_about_itself_and_its_neighbors_have() -> None:
    spot = torch.ones(40, 40)
    spot[14:26, 14:26] = 50.0
    alone, usual = learned({7: spot}), learned({i: spot for i in range(40)})
    with_itself, without = (alone.expected(BALL, [CAMERAS[7]], [own])[0, 0, 20, 20] for own in (None, 7))
    assert float(with_itself) > 10 and float(without) < 1.2
    assert float(usual.expected(BALL, [CAMERAS[7]], [7])[0, 0, 20, 20]) > 10


def test_what_shows_from_one_direction_is_expected_from_there_alone() -> None:
    """A highlight: two cameras see the same place, the spot is there in the views around one of them."""
    directions = torch.stack([c.center / c.center.norm() for c in CAMERAS])
    cosines = directions @ directions.T
    near = {int(i): torch.full((40, 40), 50.0) for i in (cosines[7] > 0.9).nonzero()[:, 0]}
    apart = int((cosines[7] - 0.35).abs().argmin())  # 70 degrees away: both see what lies between them
    usual = learned(near)
    here, there = (usual.expected(BALL, [CAMERAS[i]])[0, 0] for i in (7, apart))
    assert float(here[on_object(7)].median()) > 20
    assert float(there[on_object(apart)].median()) < 3


def test_more_is_expected_where_hardly_a_view_looked() -> None:
    """Views of the upper half alone, that show the same everywhere; the last camera looks from below."""
    statistics = LocalStatistics(BALL)
    dense = cameras(160, size=40)  # 16 degrees apart
    for camera in dense[:80]:
        statistics.add([camera], torch.ones(1, 1, 40, 40))
    usual, expected = statistics.finish(), []
    for camera in (dense[40], dense[90], dense[159]):
        shown = render(BALL, [camera]).alpha[0] > 0.9
        expected.append(float(usual.expected(BALL, [camera])[0, 0][shown].median()))
    among, beside, opposite = expected
    assert 0.9 < among < 1.2 and among < beside < opposite and opposite > 5


def test_cells_are_bounded_and_hold_neighbors() -> None:
    usual = learned({}, most_cells=50)
    count = usual.means.shape[2]
    assert 25 < count <= 50
    groups = [BALL.means[usual.cells == cell] for cell in range(count)]
    assert max(float((group - group.mean(0)).norm(dim=1).max()) for group in groups) < 0.3  # the ball's radius is 0.5
    torch.testing.assert_close(
        usual.expected(BALL, [CAMERAS[3]])[0, 1][on_object(3)].mean(), torch.tensor(2.0), rtol=0.05, atol=0
    )


def test_no_view_teaches_nothing() -> None:
    with pytest.raises(ValueError, match="no view"):
        LocalStatistics(BALL).finish()


def test_an_error_that_good_views_show_scores_less_and_a_new_one_as_before() -> None:
    """The model lacks a mark that every photograph of the good object has; one photograph has another besides."""
    marked = BALL.sh.clone()
    marked[BALL.means[:, 0] > 0.46] = -1.0
    size, taken = 96, cameras(40, size=96)
    photographs, renderings = (
        torch.cat([render(model, [camera]).image.clamp(0, 1) for camera in taken])
        for model in (replace(BALL, sh=marked), BALL)
    )
    config, pyramid = ScoreConfig.fast(), GradientFeatures()
    normality = learn_normality(pyramid, photographs[::4], renderings[::4], config)
    statistics = LocalStatistics(BALL)
    for i, camera in enumerate(taken):
        ratios = ratios_of(compare_levels(pyramid, photographs[i : i + 1], renderings[i : i + 1], config), normality)
        statistics.add([camera.resized(48, 48)], ratios.halved())
    towards = int(torch.stack([c.center[0] for c in taken]).argmax())  # looks at the mark
    place = (photographs[towards] - renderings[towards]).abs().amax(0) > 0.2
    query = photographs[towards : towards + 1].clone()
    new = torch.zeros(size, size, dtype=torch.bool)
    new[66:72, 54:60] = True
    query[:, :, new] = 0.95
    assert not (place & new).any()
    usual = statistics.finish().expected(BALL, [taken[towards].resized(48, 48)], [towards])
    before, after = (
        score_pairs(pyramid, query, renderings[towards : towards + 1], config, normality, u).maps[0]
        for u in (None, usual)
    )
    assert float(after[place].max()) < 0.5 * float(before[place].max())
    assert float(after[new].max()) > 0.75 * float(before[new].max())


@pytest.mark.determinism
def test_what_is_expected_of_a_photograph_does_not_depend_on_the_others() -> None:
    drawn = torch.Generator().manual_seed(0)
    local = learned({i: 4 * torch.rand(40, 40, generator=drawn) for i in range(40)})
    together = local.expected(BALL, CAMERAS)
    for i, camera in enumerate(CAMERAS):
        assert torch.equal(local.expected(BALL, [camera])[0], together[i])
