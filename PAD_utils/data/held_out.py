"""Views of the good object that training never sees: only they tell what a fresh good photograph scores."""

from collections.abc import Sequence
from typing import NamedTuple

from gaussian_splatting.views import View

_MOST = 32  # more would cost the model detail, and a threshold gains little
_SHARE = 6  # at most one view in so many
_FEWEST = 3  # fewer tell nothing, and then none are held out


class Gallery(NamedTuple):
    """Views that the model is trained on, and views that are held out from training."""

    seen: list[View]
    held_out: list[View]


def split(gallery: Sequence[View]) -> Gallery:
    """Holds out one view in six, at most 32, evenly over the gallery; none of fewer than 16 views."""
    step = max(_SHARE, -(-len(gallery) // _MOST))
    chosen = range(step // 2, len(gallery), step)
    if len(chosen) < _FEWEST:
        return Gallery(list(gallery), [])
    return Gallery([v for i, v in enumerate(gallery) if i not in chosen], [gallery[i] for i in chosen])


def split_by_name(gallery: Sequence[View], held_out: Sequence[str]) -> Gallery:
    """As it was split when a model was trained: by the names of the views that were held out."""
    names = set(held_out)
    return Gallery([v for v in gallery if v.name not in names], [v for v in gallery if v.name in names])
