"""Cross-fitting: what is usual on a view is shown by a model that never saw that view.

A model fits the views that it was trained on better than fresh photographs. Where few views see a place, such as an
interior, it memorizes them. Their residuals then say that all is well at the very places that go wrong. So a few models
are trained shortly, each without a share of the views, and those views are compared with what such a model shows.
"""

import logging
from collections.abc import Sequence

import torch

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.training.train import TrainConfig, train
from gaussian_splatting.views import View

log = logging.getLogger(__name__)

FOLDS = 3
_SHORTER = 2  # than the training of the model itself: what a stranger sees needs no last decibel
_GOLDEN = 0.618034  # its multiples spread evenly: neighbors on a ring and in a column of rings fall into other folds


def fold_of(index: int) -> int:
    """The number of the model that does not see the view of this index."""
    return int(index * _GOLDEN % 1 * FOLDS)


def short(iterations: int) -> int:
    """Of the training of one fold, for a model that takes this many."""
    return max(1, iterations // _SHORTER)


def cross_fit(views: Sequence[View], config: TrainConfig, device: torch.device, seed: int) -> list[Gaussians]:
    """One model per fold, trained by `config` on the views of all other folds."""
    models = []
    for fold in range(FOLDS):
        others = [view for i, view in enumerate(views) if fold_of(i) != fold]
        result = train(others, config, device=device, seed=seed)
        log.info("model %d of %d for cross-fitting: %.1f dB in %.0f s", fold + 1, FOLDS, result.psnr, result.seconds)
        models.append(result.gaussians.detached())
    return models
