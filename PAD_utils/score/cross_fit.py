"""Cross-fitting: what is usual on a view is shown by a model that never saw that view.

A model fits the views that it was trained on better than fresh photographs. Where few views see a place, such as an
interior, it memorizes them. Their residuals then say that all is well at the very places that go wrong. So a few models
are trained shortly, each without a share of the views, and those views are compared with what such a model shows. They
are trained on pictures as large as those that are compared, for nothing smaller will be seen of them. They share one
start, the visual hull, which the outlines of all views carve: what they must not have seen are the pictures.

Where there are too few views to hold some out, these models also tell how a view scores that training did not see.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.parallel import parallel
from gaussian_splatting.training.train import TrainConfig, first_gaussians, train
from gaussian_splatting.views import View
from PAD_utils.score.levels import ScoreConfig, compared_size

log = logging.getLogger(__name__)

FOLDS = 3
FOLDS_OF_FEW = 6  # where no view can be held out: the models judge too, and each must see nearly all there is
ENOUGH = 28  # views: of fewer, training needs each, and none is held out
FEW = 50  # views that training sees: of fewer it memorizes so much that cross-fitting pays on a CPU too
FEWEST = 16  # views: of fewer, models that lack a sixth tell little of the one that has them all
_SHORTER = 16  # than the training of the model itself: a model made in haste errs on the side of "this is usual"
_SHORTER_OF_FEW = 4  # what lacks a share of few views errs enough; and where it judges, it must come near
_GOLDEN = 0.618034  # its multiples spread evenly: neighbors on a ring and in a column of rings fall into other folds


def fold_of(index: int, folds: int) -> int:
    """The number of the model, of so many, that does not see the view of this index."""
    return int(index * _GOLDEN % 1 * folds)


def by_fold(
    views: Sequence[View], numbers: Iterable[int], folds: Sequence[Gaussians]
) -> list[tuple[View, Gaussians | None]]:
    """The views of these numbers, each with the model that did not see it (None: there are none), those of one model
    together."""
    if not folds:
        return [(views[i], None) for i in numbers]
    placed = sorted((fold_of(i, len(folds)), i) for i in numbers)
    return [(views[i], folds[fold]) for fold, i in placed]


def short(iterations: int, views: int) -> int:
    """Of the training of one fold, for a model that takes this many iterations for so many views."""
    return max(1, iterations // (_SHORTER_OF_FEW if views < FEW else _SHORTER))


def cross_fit(
    views: Sequence[View], config: TrainConfig, score: ScoreConfig, device: torch.device, seed: int, folds: int = FOLDS
) -> list[Gaussians]:
    """One model per fold, trained by `config` on the views of all other folds at the size at which `score` compares.

    Exposures are not solved: scores are indifferent to that of a view. Views stay where they are: give those that the
    training of the model itself has aligned (`TrainResult.aligned`)."""
    config = replace(config, exposure_at=(), align_at=())
    small = parallel(lambda view: view.resized(*_compared_at(view, score)), views)
    start, models = first_gaussians(small, config, device=device, seed=seed), []
    for fold in range(folds):
        others = [view for i, view in enumerate(small) if fold_of(i, folds) != fold]
        name = f"model {fold + 1} of {folds} for cross-fitting"
        result = train(others, config, device=device, seed=seed, start=start, name=name)
        log.info("%s: %.1f dB in %.1f s", name, result.psnr, result.seconds)
        models.append(result.gaussians.detached())
    return models


def _compared_at(view: View, score: ScoreConfig) -> tuple[int, int]:
    """Width and height of a view when it is compared."""
    height, width = compared_size(view.camera.height, view.camera.width, score)
    return width, height
