"""What good views teach: each is judged without its own part, and noise neither hides a defect nor raises an alarm."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gaussian_splatting.rendering import render
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.levels import ScoreConfig
from PAD_utils.score.usual import Comparer, Posed, Usual
from tests.toy_scene import ball, cameras

SIZE = 64
CAMERAS = cameras(48, SIZE)
COMPARER = Comparer(ball(300), GradientFeatures(), ScoreConfig.fast())


def picture(index: int, noise: float = 0.002) -> Tensor:
    """A photograph of a ball that is not quite the model: one side is paler."""
    part = ball(300)
    part.sh[part.means[:, 0] > 0.35] *= 0.8
    image = render(part, [CAMERAS[index]]).image[0].clamp(0, 1).permute(1, 2, 0)
    added = noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(index))
    return ((image + added) * 255).round().clamp(0, 255).byte()


def posed(index: int) -> Posed:
    return Posed(picture(index), CAMERAS[index])


SEEN, HELD_OUT = [posed(i) for i in range(48) if i % 4], [posed(i) for i in range(0, 48, 4)]


@pytest.fixture(scope="module")
def usual() -> Usual:
    return COMPARER.learn(SEEN, HELD_OUT)


def score(usual: Usual, image: Tensor, index: int) -> float:
    return float(COMPARER.compare([image], [CAMERAS[index]], usual)[0].image_scores)


def test_a_held_out_view_is_scored_as_if_it_had_taught_nothing() -> None:
    marked = HELD_OUT[5].image.clone()
    marked[28:36, 28:36] = torch.tensor([255, 0, 255], dtype=torch.uint8)
    odd = Posed(marked, HELD_OUT[5].camera)
    with_it = COMPARER.learn(SEEN, [*HELD_OUT[:5], odd, *HELD_OUT[6:]])
    without_it = replace(COMPARER.learn(SEEN, [*HELD_OUT[:5], *HELD_OUT[6:]]), response=None)
    fair, unfair = score(without_it, marked, 20), score(replace(with_it, response=None), marked, 20)
    assert with_it.held_out_scores[5] == pytest.approx(fair, rel=0.02)
    assert unfair < 0.85 * fair


def test_what_is_usual_on_a_view_is_shown_by_a_model_that_never_saw_it() -> None:
    """The model has memorized its views: they leave nothing unexplained. A stranger does not know the mark."""
    stranger = ball(300)
    stranger.sh[stranger.means[:, 0] > 0.4] = -1.0
    pictures = [render(COMPARER.gaussians, [c]).image[0].clamp(0, 1).permute(1, 2, 0) for c in CAMERAS]
    memorized = [Posed((x * 255).byte(), camera) for x, camera in zip(pictures, CAMERAS, strict=True)]
    seen = [view for i, view in enumerate(memorized) if i % 4]
    towards = int(torch.stack([camera.center[0] for camera in CAMERAS]).argmax())  # looks at the mark
    camera = [CAMERAS[towards].resized(SIZE // 2, SIZE // 2)]
    highest = []
    for model in (None, stranger):
        local = COMPARER.learn([view._replace(unseen_by=model) for view in seen], memorized[::4]).local
        assert local is not None
        highest.append(float(local.expected(COMPARER.gaussians, camera)[0, 0].max()))
    assert highest[1] > 5 * highest[0]


def test_a_view_is_scored_by_the_model_that_is_to_judge_it() -> None:
    """Its own model has memorized it; a stranger that does not know the mark finds it odd."""
    stranger = ball(300)
    stranger.sh[stranger.means[:, 0] > 0.4] = -1.0
    pictures = [render(COMPARER.gaussians, [c]).image[0].clamp(0, 1).permute(1, 2, 0) for c in CAMERAS]
    memorized = [Posed((x * 255).byte(), camera) for x, camera in zip(pictures, CAMERAS, strict=True)]
    towards = int(torch.stack([camera.center[0] for camera in CAMERAS]).argmax())  # looks at the mark
    own = COMPARER.learn([], memorized)
    judged = COMPARER.learn(
        [], [*memorized[:towards], memorized[towards]._replace(judged_by=stranger), *memorized[towards + 1 :]]
    )
    assert own.seen_scores == judged.seen_scores == [] and len(judged.held_out_scores) == len(CAMERAS)
    assert judged.held_out_scores[towards] > own.held_out_scores[towards] + 3
    others = [i for i in range(len(CAMERAS)) if i != towards]
    assert max(judged.held_out_scores[i] for i in others) < judged.held_out_scores[towards]


def test_a_threshold_is_known_for_any_rate_without_another_look(usual: Usual) -> None:
    strict, lax = (usual.calibration(rate, COMPARER.config) for rate in (0.02, 0.2))
    assert (strict.views, strict.attainable_rate) == (48, 1 / 49)
    above = [s > lax.threshold for s in usual.held_out_scores]
    assert lax.threshold < strict.threshold and 0 < sum(above) < 6


def test_noise_hides_no_defect_and_raises_no_alarm(usual: Usual) -> None:
    threshold = usual.calibration(0.02, COMPARER.config).threshold
    for index in (3, 21, 38):
        for noise in (0.002, 0.015, 0.03):
            good = picture(index, noise)
            bad = good.clone()
            bad[30:36, 30:36] = (bad[30:36, 30:36].int() - 20).clamp(0, 255).byte()
            assert score(usual, good, index) < threshold < score(usual, bad, index), (index, noise)


def test_the_papers_score_learns_its_scores_alone() -> None:
    paper = replace(COMPARER, config=ScoreConfig.paper()).learn(SEEN[:6], [])
    assert (paper.normality, paper.local, paper.response) == (None, None, None)
    assert len(paper.seen_scores) == 6 and paper.held_out_scores == []


def larger(image: Tensor, times: int) -> Tensor:
    return image.repeat_interleave(times, 0).repeat_interleave(times, 1)


def test_a_finer_picture_is_compared_as_coarsely_as_the_model_was_fitted(usual: Usual) -> None:
    """Its score is that of the usual size, the maximum of a map of its own size, and that of the picture alone."""
    fitted = replace(COMPARER, fitted_focal_px=CAMERAS[0].fx)
    camera, plain = CAMERAS[7].resized(2 * SIZE, 2 * SIZE), picture(7)
    scores, shown = fitted.compare([larger(plain, 2)], [camera], usual)
    assert scores.maps.shape[1:] == shown.shape[2:] == (2 * SIZE, 2 * SIZE)
    assert float(scores.image_scores) == float(scores.maps.max())
    usual_size = score(usual, plain, 7)
    assert float(scores.image_scores) == pytest.approx(usual_size, rel=0.05)
    assert float(COMPARER.compare([larger(plain, 2)], [camera], usual)[0].image_scores) > 1.3 * usual_size
    assert float(fitted.compare([plain], [CAMERAS[7]], usual)[0].image_scores) == usual_size
    narrower = replace(camera, fx=1.5 * camera.fx, fy=1.5 * camera.fy)
    together = fitted.compare([larger(plain, 2)] * 2, [camera, narrower], usual)[0]
    assert torch.equal(together.maps[0], scores.maps[0])
