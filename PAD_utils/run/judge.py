"""From poses to verdicts: render a good object at each pose, score the difference, decide by a calibrated threshold."""

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from gaussian_splatting.pose.types import PoseEstimate
from gaussian_splatting.rendering import render
from gaussian_splatting.views import View
from PAD_utils.data.held_out import split_by_name
from PAD_utils.data.mad import Sample
from PAD_utils.run.job import Job
from PAD_utils.run.steps import Model, Poses, make_refiner
from PAD_utils.score.anomaly import ScoreConfig, learn_normality, score_pairs
from PAD_utils.score.calibration import Calibration, as_fresh, calibrate
from PAD_utils.score.features import FAST_FEATURES, make_features
from PAD_utils.score.normality import Normality
from PAD_utils.score.pyramid import FeaturePyramid
from PAD_utils.score.regions import Region, find_regions

log = logging.getLogger(__name__)

_CALIBRATION_VIEWS = 60  # of those seen, evenly spread: a threshold needs no more, and each costs a refinement
_PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class Verdicts:
    """Per sample: anomaly map (h, w) float32, score, decision, rendering (h, w, 3), regions of defects; the threshold
    that decided (None: there were too few good views to calibrate one), and how the scores came about."""

    maps: list[Float[Tensor, "h w"]]
    scores: list[float]
    decisions: list[str | None]
    renderings: list[UInt8[Tensor, "h w 3"]]
    regions: list[list[Region]]
    calibration: Calibration | None
    features: str
    score_seconds: float
    warnings: list[str]


class Scored(NamedTuple):
    """What one picture's comparison gave."""

    map: Float[Tensor, "h w"]
    score: float
    rendering: UInt8[Tensor, "h w 3"]


def judge(job: Job, model: Model, gallery: list[View], samples: list[Sample], poses: Poses) -> Verdicts:
    """Step 5: what a good object would look like from there, how the photograph differs, and whether that is normal."""
    pyramid, said = make_pyramid(job)
    return judge_with(job, model, gallery, samples, poses, pyramid, said)


def judge_with(
    job: Job,
    model: Model,
    gallery: list[View],
    samples: list[Sample],
    poses: Poses,
    pyramid: FeaturePyramid,
    said: list[str],
) -> Verdicts:
    """As `judge`, with these features, about which the user has been told what was `said`."""
    normality, calibration = learn_normal(job, model, gallery, pyramid)
    start = time.perf_counter()
    scored = score(job, model, pyramid, normality, [s.image for s in samples], poses.estimates)
    seconds = (time.perf_counter() - start) / max(1, len(samples))
    decisions: list[str | None] = [None] * len(samples)
    regions: list[list[Region]] = [[] for _ in samples]
    if calibration is not None:
        decisions = [
            calibration.decide(one.score, pose.converged) for one, pose in zip(scored, poses.estimates, strict=True)
        ]
        regions = [find_regions(one.map.numpy(), calibration.threshold) for one in scored]
    return Verdicts(
        [one.map for one in scored],
        [one.score for one in scored],
        decisions,
        [one.rendering for one in scored],
        regions,
        calibration,
        pyramid.name,
        seconds,
        said,
    )


def make_pyramid(job: Job) -> tuple[FeaturePyramid, list[str]]:
    """The features of --features, and what a user has to be told about them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        pyramid = make_features(job.config.features or FAST_FEATURES, job.config.weights, job.device)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    for line in said:
        log.warning("%s", line)
    return pyramid, said


def learn_normal(
    job: Job, model: Model, gallery: list[View], pyramid: FeaturePyramid
) -> tuple[Normality | None, Calibration | None]:
    """What normal residuals look like and the threshold, learned from views of the good object that went through the
    same refinement as a query; the residuals from those held out from training, where there are any. Both are stored
    beside the model. The paper's score takes residuals as they are."""
    seen, held_out = split_by_name(gallery, model.held_out)
    config, normality = _score_config(job), None
    known, fresh = (_localized(job, model, views) for views in (seen[:: -(-len(seen) // _CALIBRATION_VIEWS)], held_out))
    teachers = fresh or known
    if config.normalized and teachers:
        pairs = [_pair(job, model, [view.image], [estimate]) for view, estimate in teachers]
        queries, renderings = (torch.cat(pictures) for pictures in zip(*pairs, strict=True))
        normality = learn_normality(pyramid, queries, renderings, config)
        normality.save(model.path.parent / "normality.json")
    scored = score(
        job, model, pyramid, normality, [v.image for v, _ in (*known, *fresh)], [e for _, e in (*known, *fresh)]
    )
    scores, inflation = [one.score for one in scored], 1.0 if fresh else config.inflation
    if fresh:
        scores = as_fresh(scores[: len(known)], scores[len(known) :]).tolist()
    try:
        calibration = calibrate(scores, job.config.false_alarm_rate, inflation, logarithms=config.normalized)
    except ValueError as error:
        log.warning("no decisions: %s", error)
        return normality, None
    calibration.save(model.path.parent / "calibration.json")
    return normality, calibration


def _localized(job: Job, model: Model, views: list[View]) -> list[tuple[View, PoseEstimate]]:
    """Good views with their refined poses, without those that could not be refined."""
    if not views:
        return []
    images = torch.stack([view.image for view in views])
    estimates = make_refiner(job).refine(model.gaussians, images, [[view.camera] for view in views])
    good = [(view, estimate) for view, estimate in zip(views, estimates, strict=True) if estimate.converged]
    if len(good) < len(views):
        log.warning("%d of %d good views could not be localized", len(views) - len(good), len(views))
    return good


def score(
    job: Job,
    model: Model,
    pyramid: FeaturePyramid,
    normality: Normality | None,
    images: Sequence[UInt8[Tensor, "h w 3"]],
    estimates: Sequence[PoseEstimate],
) -> list[Scored]:
    """Compares every picture with the rendering at its pose; neighbors of one size go through the network together."""
    results: list[Scored] = []
    for some in tqdm(_runs([tuple(image.shape) for image in images]), desc="score", disable=None):
        queries, renderings = _pair(job, model, [images[i] for i in some], [estimates[i] for i in some])
        found = score_pairs(pyramid, queries, renderings, _score_config(job), normality)
        pictures = (renderings * 255).round().byte().permute(0, 2, 3, 1).cpu()
        results += [Scored(*one) for one in zip(found.maps.cpu(), found.image_scores.tolist(), pictures, strict=True)]
    return results


def _score_config(job: Job) -> ScoreConfig:
    return ScoreConfig.paper() if job.config.preset == "paper" else ScoreConfig.fast()


@torch.no_grad()
def _pair(
    job: Job, model: Model, images: Sequence[Tensor], estimates: Sequence[PoseEstimate]
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]:
    """Pictures of one size and the renderings at their poses, both in [0, 1]."""
    queries = torch.stack(list(images)).to(job.device).permute(0, 3, 1, 2).float() / 255
    return queries, render(model.gaussians, [estimate.camera for estimate in estimates]).image.clamp(0, 1)


def _runs(shapes: list[tuple[int, ...]]) -> list[range]:
    """Ranges of neighbors of one shape, at most _PICTURES_AT_ONCE long."""
    starts = [i for i, shape in enumerate(shapes) if i == 0 or shape != shapes[i - 1]]
    ends = [*starts[1:], len(shapes)] if starts else []
    return [
        range(i, min(i + _PICTURES_AT_ONCE, end))
        for start, end in zip(starts, ends, strict=True)
        for i in range(start, end, _PICTURES_AT_ONCE)
    ]
