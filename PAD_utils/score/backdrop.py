"""What lies beside the object in a photograph: its backdrop may be another one than that of the good views.

Which pixels show the object is told by the model's alpha at the pose that was found, never by a color. The rendering is
laid over the photograph's own backdrop color, and what differs beside it by no more than that backdrop's own noise does
not count. Where that backdrop is not plain, the photograph counts only within a margin around the object: as far as a
burr or a shifted part may reach. Around a part that had to be cut out of its surroundings only what the model covers
counts, in the photograph as it was taken, for cut-outs err along the outline and inside, and beside it what a model of
the surroundings finds odd (`beside.py`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diff_gaussian_rasterization.constants import NORMAL_FROM_MAD
from jaxtyping import Bool, Float
from torch import Tensor

from gaussian_splatting.background import Backdrop, Color

_NOTHING = 4e-3  # alpha below which a pixel shows backdrop alone: one gray level
OBJECT = 0.03  # alpha above which a pixel shows the object
_FEWEST = 0.01  # of the picture: fewer pixels beside the object do not tell the color of the backdrop
_PLAIN = 0.03  # robust deviation of a plain backdrop's pixels, noise of a sensor included
_NOISE = 3.3  # median strays of a noisy backdrop that one pixel in 10,000 exceeds, in the largest of its channels
_MOST_NOISE = 0.17  # more is no noise
_MARGIN = 0.05  # of the longer side
_FOLDS = 2.5  # tolerances of the backdrop within which its deepest folds stay
_SAMPLED = 3  # pixels, from one that a median reads to the next


class Pairs(NamedTuple):
    """Photographs and renderings in [0, 1] that may be compared pixel by pixel, and where the object is drawn."""

    queries: Float[Tensor, "b 3 h w"]
    renderings: Float[Tensor, "b 3 h w"]
    shown: Bool[Tensor, "b h w"]


def over_backdrop(
    queries: Float[Tensor, "b 3 h w"],
    on_black: Float[Tensor, "b 3 h w"],
    alpha: Float[Tensor, "b h w"],
    usual: Color,
) -> Pairs:
    """Pairs of photographs in [0, 1] and renderings over black with their alpha. `usual` is the backdrop's color where
    a photograph shows too little of its own."""
    beside = alpha < _NOTHING
    color = _median(queries, beside)
    enough = beside.flatten(1).float().mean(1) > _FEWEST
    color = torch.where(enough[:, None], color, torch.tensor(usual).to(queries))[..., None, None]
    renderings = (on_black + (1 - alpha[:, None]) * color).clamp(0, 1)
    stray = (queries - color).abs().amax(1, keepdim=True)
    usual_stray, shown = _median(stray, beside)[:, 0, None, None], alpha > OBJECT
    plain = NORMAL_FROM_MAD * usual_stray < _PLAIN
    counts = plain | _widened(alpha > 0.5, round(_MARGIN * max(alpha.shape[1:])))
    noise = (_NOISE * usual_stray).clamp_max(_MOST_NOISE)
    counts &= shown | ((queries - renderings).abs().amax(1) > noise)
    return Pairs(torch.where(counts[:, None], queries, renderings), renderings, shown)


def without_folds(pairs: Pairs, backdrop: Backdrop) -> Pairs:
    """The pairs without what both pictures show of an uneven backdrop: folds of a cloth, its shine, a stand.

    The model learns those too, and badly, for they shine differently from every side. Where photograph and rendering
    both stay near the backdrop's color, nothing of the object is seen. A clean backdrop changes nothing.
    """
    if backdrop.tolerance <= 0:
        return pairs
    color = torch.tensor(backdrop.color).to(pairs.queries)[:, None, None]
    near = [((x - color).abs().amax(1) < _FOLDS * backdrop.tolerance) for x in (pairs.queries, pairs.renderings)]
    nothing = near[0] & near[1]
    queries = torch.where(nothing[:, None], pairs.renderings, pairs.queries)
    return Pairs(queries, pairs.renderings, pairs.shown & ~nothing)


def _median(values: Float[Tensor, "b c h w"], where: Bool[Tensor, "b h w"]) -> Float[Tensor, "b c"]:
    """The median of each channel over pixels that are marked, evenly sampled; 0 where there are none."""
    values, where = values[..., ::_SAMPLED, ::_SAMPLED], where[..., ::_SAMPLED, ::_SAMPLED]
    return values.masked_fill(~where[:, None], torch.nan).flatten(2).nanmedian(2).values.nan_to_num(0.0)


def _widened(mask: Bool[Tensor, "b h w"], margin: int) -> Bool[Tensor, "b h w"]:
    """The mask with a margin around it, in pixels: a square's reach, found on a grid of a quarter of the margin."""
    step = max(1, margin // 4)
    coarse = F.max_pool2d(mask[:, None].float(), step, ceil_mode=True)
    reach = -(-margin // step)
    grown = F.max_pool2d(coarse, 2 * reach + 1, 1, reach)
    fine = grown.repeat_interleave(step, 2).repeat_interleave(step, 3)
    return fine[:, 0, : mask.shape[1], : mask.shape[2]] > 0
