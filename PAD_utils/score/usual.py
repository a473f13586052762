"""What is usual on good views of one object, learned once: residuals, their places, the scores, the answer to noise."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import WHITE_BACKDROP, Backdrop, flattened
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.progress import progress
from gaussian_splatting.rendering import render
from PAD_utils.score.anomaly import Ratios, Scores, residual_ratios, score_pairs, score_ratios
from PAD_utils.score.backdrop import Pairs, over_backdrop, without_folds
from PAD_utils.score.calibration import Calibration, as_fresh, calibrate
from PAD_utils.score.levels import Levels, ScoreConfig, compare_levels, compared_size, usual_size
from PAD_utils.score.local_normality import LocalNormality, LocalStatistics
from PAD_utils.score.noise import NoiseResponse, learn_response
from PAD_utils.score.normality import Normality, NormalityStatistics, median_ratio
from PAD_utils.score.pyramid import FeaturePyramid

_NOISE_VIEWS = 16  # of the good views, for the level of noise that is in them
_ADDED_NOISE = (0.01, 0.02, 0.04)  # of white, standard deviation
_NOISY_VIEWS = 32  # of the good views, at most, that are scored with noise added
_RATE = 0.01  # of false alarms, for whose threshold the answer to noise is learned; others differ little


T = TypeVar("T")


class Posed(NamedTuple):
    """A good view and where it was taken from."""

    image: UInt8[Tensor, "h w 3"]
    camera: Camera


@dataclass(frozen=True)
class Usual:
    """What good views taught. `normality`, `local`, `response` are None where the score takes residuals as they are, or
    where there are too few views. The scores of views that training saw and of those that were held out from it: each
    without its own part in what is usual."""

    normality: Normality | None
    local: LocalNormality | None
    response: NoiseResponse | None
    seen_scores: list[float]
    held_out_scores: list[float]

    def calibration(self, false_alarm_rate: float, config: ScoreConfig) -> Calibration:
        """The threshold for this rate. Raises ValueError for too few scores or an impossible rate."""
        if self.held_out_scores:
            scores, inflation = as_fresh(self.seen_scores, self.held_out_scores).tolist(), 1.0
        else:
            scores, inflation = self.seen_scores, config.inflation
        return calibrate(scores, false_alarm_rate, inflation, logarithms=config.normalized)


class _Judged(NamedTuple):
    """A good view without its own part in what is usual: its score, its noise, and what is usual at its places."""

    score: float
    noise: float
    usual: Float[Tensor, "1 l u v"]


@dataclass(frozen=True)
class Comparer:
    """Compares photographs with what the good object looks like from their poses. `cut_out` as for `over_backdrop`."""

    gaussians: Gaussians
    pyramid: FeaturePyramid
    config: ScoreConfig
    backdrop: Backdrop = WHITE_BACKDROP
    cut_out: bool = False

    def compare(
        self, images: Sequence[UInt8[Tensor, "h w 3"]], cameras: Sequence[Camera], usual: Usual
    ) -> tuple[Scores, Float[Tensor, "b 3 h w"]]:
        """Pictures of one size against what is usual: scores, and the renderings of the good object in [0, 1]."""
        queries, renderings, shown = self._pairs(images, cameras)
        local = None if usual.local is None else usual.local.expected(self.gaussians, self._halved(cameras))
        learned = usual.normality, local, usual.response
        return score_pairs(self.pyramid, queries, renderings, self.config, *learned, shown), renderings

    def learn(self, seen: Sequence[Posed], held_out: Sequence[Posed]) -> Usual:
        """What good views teach, those that training saw and those held out from it, where there are any.

        A view is never judged by what it taught itself: its part in the residuals and in their places is taken out.
        The paper's score takes residuals as they are, so that there is nothing to learn but scores.
        """
        if not self.config.normalized or not (seen or held_out):
            nothing = Usual(None, None, None, [], [])
            return replace(nothing, seen_scores=self._plain(seen), held_out_scores=self._plain(held_out))
        teachers = held_out or seen
        statistics = _statistics(self._levels(teachers))
        normality = statistics.finish()
        normality = replace(normality, noise=_usual_noise(self._levels(_thinned(teachers, _NOISE_VIEWS)), normality))
        without_own = [replace(statistics.finish(i), noise=normality.noise) for i in range(len(teachers))]
        judged_by = [*([normality] * len(seen) if held_out else []), *without_own]
        views = [*seen, *held_out]
        local, judged = self._judged(views, judged_by)
        scores = [one.score for one in judged]
        usual = Usual(normality, local, None, scores[: len(seen)], scores[len(seen) :])
        try:
            threshold = usual.calibration(_RATE, self.config).threshold
        except ValueError:  # too few views
            return usual
        some = _thinned(range(len(views) - len(teachers), len(views)), _NOISY_VIEWS)
        noises, scores_under = [[judged[i].noise for i in some]], [[judged[i].score for i in some]]
        generator = torch.Generator().manual_seed(0)
        for sigma in _ADDED_NOISE:
            again = [self._with_noise(views[i], judged_by[i], judged[i].usual, sigma, generator) for i in some]
            noises.append([one.noise for one in again])
            scores_under.append([one.score for one in again])
        return replace(usual, response=learn_response(threshold, [one.noise for one in judged], noises, scores_under))

    def _judged(self, views: Sequence[Posed], judged_by: Sequence[Normality]) -> tuple[LocalNormality, list[_Judged]]:
        """What is usual at the places of all views, and what each is without its own part in it."""
        statistics, ratios = LocalStatistics(self.gaussians), []
        for view, normality in progress(list(zip(views, judged_by, strict=True)), desc="learn", leave=False):
            ratios.append(self._ratios(view, normality))
            statistics.add(self._halved([view.camera])[0], ratios[-1].halved()[0])
        local, judged = statistics.finish(), []
        for i, (view, ratio) in enumerate(zip(views, ratios, strict=True)):
            usual = local.expected(self.gaussians, self._halved([view.camera]), [i])
            judged.append(_Judged(self._score(view, ratio, usual), float(ratio.noise), usual))
        return local, judged

    def _with_noise(
        self,
        view: Posed,
        normality: Normality,
        usual: Float[Tensor, "1 l u v"],
        sigma: float,
        generator: torch.Generator,
    ) -> _Judged:
        """The view with white noise added."""
        added = torch.randn(view.image.shape, generator=generator) * (255 * sigma)
        noisy = Posed((view.image + added).round().clamp(0, 255).byte(), view.camera)
        ratio = self._ratios(noisy, normality)
        return _Judged(self._score(noisy, ratio, usual), float(ratio.noise), usual)

    def _score(self, view: Posed, ratio: Ratios, usual: Float[Tensor, "1 l u v"]) -> float:
        height, width = view.image.shape[:2]
        return float(score_ratios(ratio, self.config, (height, width), usual).image_scores)

    def _ratios(self, view: Posed, normality: Normality) -> Ratios:
        queries, renderings, shown = self._pairs([view.image], [view.camera])
        return residual_ratios(self.pyramid, queries, renderings, self.config, normality, shown)

    def _plain(self, views: Sequence[Posed]) -> list[float]:
        nothing = Usual(None, None, None, [], [])
        return [
            float(self.compare([view.image], [view.camera], nothing)[0].image_scores)
            for view in progress(views, desc="learn", leave=False)
        ]

    def _levels(self, views: Iterable[Posed]) -> Iterator[Levels]:
        for view in views:
            queries, renderings, shown = self._pairs([view.image], [view.camera])
            yield compare_levels(self.pyramid, queries, renderings, self.config, shown)

    def _halved(self, cameras: Sequence[Camera]) -> list[Camera]:
        """The cameras of maps of what is usual."""
        height, width = usual_size(compared_size(cameras[0].height, cameras[0].width, self.config))
        return [camera.resized(width, height) for camera in cameras]

    @torch.no_grad()
    def _pairs(self, images: Sequence[UInt8[Tensor, "h w 3"]], cameras: Sequence[Camera]) -> Pairs:
        """Pictures of one size and the renderings from their cameras, over the pictures' own backdrop."""
        flat = [flattened(image, self.backdrop.tolerance) for image in images]
        queries = torch.stack(flat).to(self.gaussians.means.device).permute(0, 3, 1, 2).float() / 255
        drawn = render(self.gaussians, list(cameras), background=(0.0, 0.0, 0.0))
        pairs = over_backdrop(queries, drawn.image, drawn.alpha, self.backdrop.color, self.cut_out)
        return without_folds(pairs, self.backdrop)


@torch.no_grad()
def learn_normality(
    pyramid: FeaturePyramid,
    queries: Float[Tensor, "q 3 h w"],
    renderings: Float[Tensor, "r 3 a b"],
    config: ScoreConfig,
) -> Normality:
    """What residuals of good views look like: pictures of the good object with their renderings at refined poses."""
    pairs = list(zip(queries.split(1), renderings.split(1), strict=True))
    normality = _statistics(compare_levels(pyramid, *pair, config) for pair in pairs).finish()
    some = (compare_levels(pyramid, *pair, config) for pair in _thinned(pairs, _NOISE_VIEWS))
    return replace(normality, noise=_usual_noise(some, normality))


def _statistics(views: Iterable[Levels]) -> NormalityStatistics:
    statistics = NormalityStatistics()
    for levels in views:
        statistics.add(levels.differences, levels.rendered, levels.shown)
    return statistics


def _usual_noise(views: Iterable[Levels], normality: Normality) -> list[float]:
    """Per level: the median over good views of a view's own median ratio."""
    found = [
        [
            median_ratio((difference.square() / normality.expected(i, rendered)).mean(1), shown)
            for i, (difference, rendered, shown) in enumerate(
                zip(levels.differences, levels.rendered, levels.shown, strict=True)
            )
        ]
        for levels in views
    ]
    return [float(torch.cat(medians).median()) for medians in zip(*found, strict=True)]


def _thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of them, evenly spread."""
    return items[:: max(1, -(-len(items) // most))]
