"""What is usual on good views of one object, learned once: residuals, their places, the scores, the answer to noise."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import WHITE_BACKDROP, Backdrop, flattened
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.images import area_resize
from gaussian_splatting.parallel import even_parts, parallel
from gaussian_splatting.progress import progress
from gaussian_splatting.rendering import render
from PAD_utils.score.anomaly import Ratios, Scores, ratios_of, score_pairs, score_ratios
from PAD_utils.score.backdrop import Pairs, over_backdrop, without_folds
from PAD_utils.score.beside import far_behind, odd_beside, over_surroundings
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED, OK, Calibration, as_fresh, calibrate
from PAD_utils.score.levels import PAIRS_PER_BATCH, Levels, ScoreConfig, compare_levels, compared_size, usual_size
from PAD_utils.score.local_normality import LocalNormality, LocalStatistics
from PAD_utils.score.noise import NoiseResponse, learn_response
from PAD_utils.score.normality import Normality, NormalityStatistics, median_ratio
from PAD_utils.score.parts import Evidence, GoodParts, PartDecision, evidence, joined
from PAD_utils.score.pyramid import FeaturePyramid
from PAD_utils.score.recorded import RecordedScores
from PAD_utils.score.transfer import to_device

# Of so many good views colors and features are kept while they are learned from, some 10 MB each. Where there are more,
# the level of noise in them is learned from as many.
_KEPT_VIEWS = 32
_ADDED_NOISE = (0.01, 0.02, 0.04)  # of white, standard deviation
_NOISY_VIEWS = 16  # of the good views, at most, that are scored with noise added
_AS_FINE = 0.95  # of a picture's focal length in pixels: those that differ by less show the same
_RATE = 0.01  # of false alarms, for whose threshold the answer to noise is learned; others differ little


T = TypeVar("T")


class Posed(NamedTuple):
    """A good view, where it was taken from, and a model that never saw it, to show what is usual on it (None: the model
    that is to judge photographs). `judged_by`: a model that never saw it and scores it in that one's place."""

    image: UInt8[Tensor, "h w 3"]
    camera: Camera
    unseen_by: Gaussians | None = None
    judged_by: Gaussians | None = None


@dataclass(frozen=True)
class Usual:
    """What good views taught. `normality`, `local`, `response` are None where the score takes residuals as they are, or
    where there are too few views. The scores of views that training saw and of those that were held out from it: each
    without its own part in what is usual; and their maps at the places of the model, in that order."""

    normality: Normality | None
    local: LocalNormality | None
    response: NoiseResponse | None
    seen_scores: list[float]
    held_out_scores: list[float]
    places: Evidence | None = None

    @cached_property
    def good_parts(self) -> GoodParts | None:
        """What the good views teach of several photographs of a part; None for scores that know no places."""
        if self.places is None:
            return None
        return GoodParts(self.places, self.seen_scores, self.held_out_scores, ScoreConfig.fast().inflation)

    @property
    def fresh_scores(self) -> Float[np.ndarray, "n"]:
        """The scores as those of fresh photographs, where there are held-out ones: first of the seen views."""
        seen = np.asarray(self.seen_scores, np.float64)
        return as_fresh(seen, self.held_out_scores) if self.held_out_scores else seen

    def calibration(self, false_alarm_rate: float, config: ScoreConfig) -> Calibration:
        """The threshold for this rate. Raises ValueError for too few scores or an impossible rate."""
        inflation = 1.0 if self.held_out_scores else config.inflation
        return calibrate(self.fresh_scores, false_alarm_rate, inflation, logarithms=config.normalized)


class _Group(NamedTuple):
    """Good views of one size that are compared together, by what they are judged, and their numbers among all."""

    views: list[Posed]
    normality: Normality
    numbers: list[int]
    levels: Levels | None = None  # where they are known already
    queries: Float[Tensor, "b 3 h w"] | None = None  # likewise, on the device

    @property
    def cameras(self) -> list[Camera]:
        return [view.camera for view in self.views]


class _Judged(NamedTuple):
    """Of good views, each without its own part in what is usual: how they score, and how noisy they are."""

    scores: list[float]
    noise: list[float]


@dataclass(frozen=True)
class Comparer:
    """Compares photographs with what the good object looks like from their poses. `cut_out`: the good views are cut
    out of their surroundings; `surroundings`: a model of the object in these, where there is one; `fitted_focal_px`:
    focal length in pixels of the pictures that the model was fitted to (None: that of any picture); `recorded` scores
    instead of `score_pairs`."""

    gaussians: Gaussians
    pyramid: FeaturePyramid
    config: ScoreConfig
    backdrop: Backdrop = WHITE_BACKDROP
    cut_out: bool = False
    fitted_focal_px: float | None = None
    recorded: RecordedScores | None = None
    surroundings: Gaussians | None = None

    def compare(
        self, images: Sequence[UInt8[Tensor, "h w 3"]], cameras: Sequence[Camera], usual: Usual
    ) -> tuple[Scores, Float[Tensor, "b 3 h w"]]:
        """Pictures of one size against what is usual: scores, and the renderings of the good object in [0, 1].

        Pictures finer than those that the model was fitted to are compared as coarsely as these, for the model knows no
        more of the good object. The paper's score takes all sizes to its own."""
        sizes = {self._known_size(camera) for camera in cameras}
        if len(sizes) > 1:  # several lenses; what is found for a picture does not depend on the others
            each = [self.compare([image], [camera], usual) for image, camera in zip(images, cameras, strict=True)]
            maps, renderings = torch.cat([one.maps for one, _ in each]), torch.cat([drawn for _, drawn in each])
            return Scores(maps, maps.flatten(1).amax(1)), renderings
        width, height = sizes.pop()
        if (height, width) == tuple(images[0].shape[:2]):
            return self._compare(images, cameras, usual)
        small = parallel(lambda image: torch.from_numpy(area_resize(image.numpy(), width, height)), images)
        found, _ = self._compare(small, [camera.resized(width, height) for camera in cameras], usual)
        maps = F.interpolate(found.maps[:, None], tuple(images[0].shape[:2]), mode="bilinear")[:, 0]
        return Scores(maps, maps.flatten(1).amax(1)), self.renderings(images, cameras)

    def _known_size(self, camera: Camera) -> tuple[int, int]:
        """Width and height at which the model knows what the camera shows."""
        share = 1.0 if self.fitted_focal_px is None else self.fitted_focal_px / camera.fx
        if share > _AS_FINE or not self.config.normalized:
            return camera.width, camera.height
        return max(1, round(share * camera.width)), max(1, round(share * camera.height))

    def _compare(
        self, images: Sequence[UInt8[Tensor, "h w 3"]], cameras: Sequence[Camera], usual: Usual
    ) -> tuple[Scores, Float[Tensor, "b 3 h w"]]:
        queries, renderings, shown = self._pairs(images, cameras)
        local = None if usual.local is None else usual.local.expected(self.gaussians, self._halved(cameras))
        if self.recorded is not None:
            return self.recorded(queries, renderings, (usual.normality, usual.response), local, shown), renderings
        learned = usual.normality, local, usual.response
        return score_pairs(self.pyramid, queries, renderings, self.config, *learned, shown), renderings

    def renderings(
        self, images: Sequence[UInt8[Tensor, "h w 3"]], cameras: Sequence[Camera]
    ) -> Float[Tensor, "b 3 h w"]:
        """What `compare` holds pictures of one size against, in [0, 1]."""
        return self._pairs(images, cameras).renderings

    def decide_part(
        self,
        usual: Usual,
        calibration: Calibration | None,
        maps: Sequence[Float[Tensor, "_ _"]],
        cameras: Sequence[Camera],
    ) -> PartDecision:
        """One decision about the part that photographs with these maps, from these cameras, show; of one photograph, or
        without a threshold, by the highest score alone. Raises ValueError where there are too few good views."""
        if not maps:
            return PartDecision(None, None, NOT_LOCALISED)
        scores = [float(one.max()) for one in maps]
        if calibration is None or len(maps) == 1:
            decided = (None, None) if calibration is None else (calibration.threshold, calibration.decide(max(scores)))
            return PartDecision(max(scores), *decided)
        if usual.local is None or usual.good_parts is None:
            raise ValueError("the paper's score does not decide parts; --preset fast does")
        small = [self._halved([camera])[0] for camera in cameras]
        score = usual.good_parts.score(evidence(self.gaussians, usual.local.cells, small, maps), scores)
        threshold = usual.good_parts.calibration(len(maps), calibration.asked_rate).threshold
        return PartDecision(score, threshold, DEFECT if score > threshold else OK)

    def learn(self, seen: Sequence[Posed], held_out: Sequence[Posed]) -> Usual:
        """What good views teach, those that training saw and those held out from it, where there are any.

        A view is never judged by what it taught itself: its part in the residuals and in their places is taken out.
        The paper's score takes residuals as they are, so that there is nothing to learn but scores.
        """
        if not self.config.normalized or not (seen or held_out):
            nothing = Usual(None, None, None, [], [])
            return replace(nothing, seen_scores=self._plain(seen), held_out_scores=self._plain(held_out))
        teachers, first = held_out or seen, len(seen) if held_out else 0
        kept = list(self._levels(teachers)) if len(teachers) <= _KEPT_VIEWS else []
        statistics = _statistics(kept or self._levels(teachers))
        normality = statistics.finish()
        noise = _usual_noise(kept or self._levels(_thinned(teachers, _KEPT_VIEWS)), normality)
        normality, own = replace(normality, noise=noise), replace(statistics.without_own(), noise=noise)
        taught = self._groups(teachers, own, first)
        if kept:
            taught = (group._replace(levels=one) for group, one in zip(taught, kept, strict=True))
        groups = [*self._groups(seen[:first], normality), *taught]
        local, judged, places = self._judged(groups)
        usual = Usual(normality, local, None, judged.scores[: len(seen)], judged.scores[len(seen) :], places)
        try:
            threshold = usual.calibration(_RATE, self.config).threshold
        except ValueError:  # too few views
            return usual
        highest = np.argsort(usual.fresh_scores)[: -_NOISY_VIEWS // 2 - 1 : -1]
        chosen = sorted({*highest.tolist(), *_thinned(range(first + len(teachers)), _NOISY_VIEWS // 2)})
        noisy = [*self._groups(seen[:first], normality, 0, [i for i in chosen if i < first])]
        noisy += self._groups(teachers, own, first, [i - first for i in chosen if i >= first])
        clean = _Judged([judged.scores[i] for i in chosen], [judged.noise[i] for i in chosen])
        under_noise = [clean, *self._under_noise(noisy, local)]
        noises, scores = [one.noise for one in under_noise], [one.scores for one in under_noise]
        return replace(usual, response=learn_response(threshold, judged.noise, noises, scores))

    def _groups(
        self, views: Sequence[Posed], normality: Normality, first: int = 0, chosen: Sequence[int] | None = None
    ) -> Iterator[_Group]:
        """The chosen ones of the views (None: all), whose first has the number `first`, each judged by its row of the
        normality."""
        chosen = range(len(views)) if chosen is None else chosen
        for some in self._together([views[i] for i in chosen]):
            numbers = list(chosen[some])
            yield _Group([views[i] for i in numbers], normality.rows(numbers), [first + i for i in numbers])

    def _together(self, views: Sequence[Posed]) -> list[slice]:
        """Which views are compared together: neighbors of one size and model, as many as the device takes at once."""
        most, parts, first = PAIRS_PER_BATCH[self.gaussians.means.device.type], [], 0
        for _, alike in groupby(views, lambda view: (view.image.shape, id(view.unseen_by), id(view.judged_by))):
            count = len(list(alike))
            parts += [slice(first + part.start, first + part.stop) for part in even_parts(count, most)]
            first += count
        return parts

    def _judged(self, groups: Sequence[_Group]) -> tuple[LocalNormality, _Judged, Evidence]:
        """What is usual at the places of all views, and what each is without its own part in it."""
        statistics, ratios = LocalStatistics(self.gaussians), []
        for group in progress(groups, desc="learn", leave=False):
            if (stranger := group.views[0].unseen_by) is not None:
                group = group._replace(queries=self._queries([view.image for view in group.views]))
            ratios.append(self._ratios(group))
            shown = ratios[-1] if stranger is None else replace(self, gaussians=stranger)._ratios(group)
            statistics.add(self._halved(group.cameras), shown.halved())
        local = statistics.finish()
        scores, places = [], []
        for group, one in zip(groups, ratios, strict=True):
            scored = self._scored(group, one, local)
            scores.append(scored.image_scores)
            places.append(evidence(self.gaussians, local.cells, self._halved(group.cameras), list(scored.maps)))
        noise = torch.cat([one.noise for one in ratios]).tolist()
        return local, _Judged(torch.cat(scores).tolist(), noise), joined(places)

    def _under_noise(self, groups: Sequence[_Group], local: LocalNormality) -> list[_Judged]:
        """The same views with more and more white noise added."""
        scores: list[list[Tensor]] = [[] for _ in _ADDED_NOISE]
        noise: list[list[Tensor]] = [[] for _ in _ADDED_NOISE]
        for group in groups:
            for i, noisy in enumerate(_noisy(group)):
                ratios = self._ratios(noisy)
                noise[i].append(ratios.noise)
                scores[i].append(self._scored(noisy, ratios, local).image_scores)
        found = zip(scores, noise, strict=True)
        return [_Judged(torch.cat(scored).tolist(), torch.cat(noises).tolist()) for scored, noises in found]

    def _scored(self, group: _Group, ratios: Ratios, local: LocalNormality) -> Scores:
        """Maps and scores of good views whose numbers are those of the views that `local` was learned from."""
        height, width = group.views[0].image.shape[:2]
        usual = local.expected(self.gaussians, self._halved(group.cameras), group.numbers)
        return score_ratios(ratios, self.config, (height, width), usual)

    def _ratios(self, group: _Group) -> Ratios:
        return ratios_of(group.levels or self._compared(group.views, group.queries), group.normality)

    def _plain(self, views: Sequence[Posed]) -> list[float]:
        nothing, scores = Usual(None, None, None, [], []), []
        for some in progress(self._together(views), desc="learn", leave=False):
            images, cameras = _pictures(views[some])
            scores.append(self.compare(images, cameras, nothing)[0].image_scores)
        return torch.cat(scores).tolist() if scores else []

    def _levels(self, views: Sequence[Posed]) -> Iterator[Levels]:
        return (self._compared(views[some]) for some in self._together(views))

    def _compared(self, views: Sequence[Posed], queries: Float[Tensor, "b 3 h w"] | None = None) -> Levels:
        """Views that are compared together; `queries` where they are on the device already."""
        queries, renderings, shown = self._pairs(*_pictures(views), queries, views[0].judged_by)
        return compare_levels(self.pyramid, queries, renderings, self.config, shown)

    def _halved(self, cameras: Sequence[Camera]) -> list[Camera]:
        """The cameras of maps of what is usual."""
        height, width = usual_size(compared_size(cameras[0].height, cameras[0].width, self.config))
        return [camera.resized(width, height) for camera in cameras]

    def _queries(self, images: Sequence[UInt8[Tensor, "h w 3"]]) -> Float[Tensor, "b 3 h w"]:
        """Pictures of one size on the device, in [0, 1], before one color of their backdrop."""
        flat = parallel(lambda image: flattened(image, self.backdrop.tolerance), images)
        return to_device(flat, self.gaussians.means.device).permute(0, 3, 1, 2).float() / 255

    @torch.no_grad()
    def _pairs(
        self,
        images: Sequence[UInt8[Tensor, "h w 3"]],
        cameras: Sequence[Camera],
        queries: Float[Tensor, "b 3 h w"] | None = None,
        model: Gaussians | None = None,
    ) -> Pairs:
        """Pictures of one size, and the renderings (of `model`, if given) from their cameras, over the pictures' own
        backdrop."""
        queries = self._queries(images) if queries is None else queries
        drawn = render(self.gaussians if model is None else model, list(cameras), background=(0.0, 0.0, 0.0))
        if not self.cut_out:
            pairs = over_backdrop(queries, drawn.image, drawn.alpha, self.backdrop.color)
            return without_folds(pairs, self.backdrop)
        beside = None
        if self.surroundings is not None:
            there = render(self.surroundings, list(cameras), background=(0.0, 0.0, 0.0))
            compared = compared_size(cameras[0].height, cameras[0].width, self.config)
            beside = odd_beside(queries, there.image, drawn.image, drawn.alpha, far_behind(drawn, there), compared)
        return over_surroundings(queries, drawn.image, drawn.alpha, beside)


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
    some = (compare_levels(pyramid, *pair, config) for pair in _thinned(pairs, _KEPT_VIEWS))
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


def _noisy(group: _Group) -> list[_Group]:
    """The group with each level of noise."""
    numbered = list(zip(group.views, group.numbers, strict=True))
    noisy = zip(*parallel(lambda of: _with_noise(*of), numbered), strict=True)
    return [group._replace(views=list(views), levels=None, queries=None) for views in noisy]


def _with_noise(view: Posed, number: int) -> list[Posed]:
    """The view with white noise of each standard deviation, of 1 for white. Views differ in it, its levels do not."""
    clean = view.image.numpy()
    drawn = np.random.default_rng(number).standard_normal(clean.shape, np.float32)
    noisy = [(clean + 255 * sigma * drawn).round().clip(0, 255).astype(np.uint8) for sigma in _ADDED_NOISE]
    return [view._replace(image=torch.from_numpy(image)) for image in noisy]


def _pictures(views: Sequence[Posed]) -> tuple[list[UInt8[Tensor, "h w 3"]], list[Camera]]:
    return [view.image for view in views], [view.camera for view in views]


def _thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of them, evenly spread."""
    return items[:: max(1, -(-len(items) // most))]
