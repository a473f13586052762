"""The paper's coarse pose (`--retrieval loftr`): the gallery views with the most LoFTR matches.

LoFTR: Detector-Free Local Feature Matching with Transformers, Sun et al., CVPR 2021; the network is kornia's, the
weights are those that PAD hands out. Only the number of matches counts, and the fine stage moves matches without
adding or removing any: it is left out, and with it the network's half-resolution branch. What does not depend on the
other picture of a pair (backbone, position encoding, the first self-attention) is computed once per picture.
"""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from gaussian_splatting.camera import Camera
from gaussian_splatting.images import area_resize
from gaussian_splatting.progress import progress
from gaussian_splatting.views import View
from PAD_utils.data.download import fetch_retrieval_models
from PAD_utils.errors import UserError
from PAD_utils.weights import read_state_dict

_log = logging.getLogger(__name__)

LONG_SIDE_PX = 400  # of the matched pictures, as in the paper; 400x400 keeps 2.6 MB per gallery view, 0.5 GB for 210
_CELL_PX = 8  # LoFTR's coarse cell
_PAIRS_AT_ONCE = 8  # at 400x400 about 0.1 GB per pair, most of it the 2500 x 2500 similarities


@dataclass(frozen=True)
class Cells:
    """Pictures as LoFTR's coarse cells: their features, row by row, and which cells are off the border."""

    features: Float[Tensor, "n l c"]
    inner: Bool[Tensor, "l"]


class CoarseMatcher(nn.Module):
    """The part of kornia's LoFTR that decides how many matches two pictures have."""

    def __init__(self, loftr: Any) -> None:
        super().__init__()
        self.backbone, self.pos_encoding = loftr.backbone, loftr.pos_encoding
        names = loftr.config["coarse"]["layer_names"]
        if names[0] != "self":
            raise ValueError(f"CoarseMatcher: expected LoFTR to begin with self-attention, got {names}")
        self.own_layer, *others = loftr.loftr_coarse.layers
        self.pair_layers = nn.ModuleList(others)
        self.is_cross = [name == "cross" for name in names[1:]]
        matching = loftr.config["match_coarse"]
        self.threshold, self.border = matching["thr"], matching["border_rm"]
        self.temperature = matching["dsmax_temperature"]

    @torch.no_grad()
    def cells(self, gray: Float[Tensor, "n 1 h w"]) -> Cells:
        """What one picture brings to all its pairs. Gray values in [0, 1], sides multiples of 8."""
        net = self.backbone
        coarse = net.layer3(net.layer2(net.layer1(torch.relu(net.bn1(net.conv1(gray))))))
        coarse = self.pos_encoding(net.layer3_outconv(coarse))
        features = coarse.flatten(2).mT.contiguous()
        inner = torch.zeros(coarse.shape[2:], dtype=torch.bool, device=gray.device)
        inner[self.border : -self.border, self.border : -self.border] = True
        return Cells(self.own_layer(features, features), inner.flatten())

    @torch.no_grad()
    def count_matches(self, query: Cells, gallery: Cells) -> Int[Tensor, "n"]:
        """The number of matches of one picture with each of the gallery: pairs of cells off the border that are each
        other's best, their dual-softmax confidence above the threshold."""
        return torch.cat([self._count(query, some, gallery.inner) for some in gallery.features.split(_PAIRS_AT_ONCE)])

    def _count(self, query: Cells, known: Float[Tensor, "n s c"], known_inner: Bool[Tensor, "s"]) -> Int[Tensor, "n"]:
        mine = query.features.expand(len(known), -1, -1)
        for layer, cross in zip(self.pair_layers, self.is_cross, strict=True):
            mine = layer(mine, known if cross else mine)
            known = layer(known, mine if cross else known)
        similarity = mine @ known.mT / (mine.shape[2] * self.temperature)
        # The logarithm of softmax over the one picture times softmax over the other.
        confidence = 2 * similarity - similarity.logsumexp(1, keepdim=True) - similarity.logsumexp(2, keepdim=True)
        best, match = confidence.max(2)
        mutual = confidence.amax(1).gather(1, match) == best
        return (mutual & (best > math.log(self.threshold)) & query.inner & known_inner[match]).sum(1)


class LoftrRetriever:
    """Ranks the gallery by the number of LoFTR matches, without a check of their geometry, as the paper does.

    Both pictures are shrunk by averaging areas, as PAD shrinks them; SplatPose picks every second pixel instead.
    All views share one size.
    """

    name = "loftr"

    def __init__(self, views: Sequence[View], matcher: CoarseMatcher, long_side_px: int = LONG_SIDE_PX) -> None:
        self.matcher = matcher
        self.long_side_px = long_side_px
        self._poses = [view.camera.cam_from_world for view in views]
        parts = [self._cells(view.image) for view in progress(views, desc="LoFTR gallery", leave=False)]
        self._gallery = Cells(torch.cat([part.features for part in parts]), parts[0].inner)

    def hypotheses(self, images: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], count: int) -> list[list[Camera]]:
        """See `Retriever`: the views with the most matches; of two with as many, the earlier."""
        found = []
        pairs = list(zip(images, cameras, strict=True))
        for image, camera in progress(pairs, desc="LoFTR", leave=False):
            matches = self.matcher.count_matches(self._cells(image), self._gallery)
            order = matches.argsort(descending=True, stable=True)[:count].tolist()
            found.append([camera.moved(self._poses[i]) for i in order])
        return found

    def _cells(self, image: UInt8[Tensor, "h w 3"]) -> Cells:
        height, width = image.shape[:2]
        cells = self.long_side_px / _CELL_PX / max(height, width)
        size = (max(1, round(width * cells)) * _CELL_PX, max(1, round(height * cells)) * _CELL_PX)
        gray = cv2.cvtColor(area_resize(image.cpu().numpy(), *size), cv2.COLOR_RGB2GRAY)
        device = next(self.matcher.parameters()).device
        return self.matcher.cells(torch.from_numpy(gray).to(device)[None, None].float() / 255)


def loftr_retriever(views: Sequence[View], weights: Path | None, device: torch.device | str) -> LoftrRetriever:
    """The retriever of the paper. Raises UserError when kornia or the checkpoint is missing, see `load_loftr`."""
    matcher = CoarseMatcher(load_loftr(weights)).to(device)
    return LoftrRetriever(views, matcher)


def warn_of_slowness(device: torch.device, views: int) -> None:
    """Says before the work what it will cost: the paper ran LoFTR on a GPU."""
    if device.type == "cpu":
        _log.warning("LoFTR matches every picture with all %d views: on a CPU that takes minutes each", views)


def load_loftr(weights: Path | None) -> Any:
    """kornia's LoFTR, on the CPU, ready to match, with the weights of PAD's `indoor_ds_new.ckpt`.

    None takes them from torch's folder of checkpoints and fetches them from Google Drive if they are not there. Raises
    UserError when kornia is not installed, when there is no such file and no network, or when it holds something else.
    """
    try:
        from kornia.feature.loftr.loftr import LoFTR, default_cfg
    except ImportError as error:
        raise UserError(
            f"--retrieval loftr needs kornia ({error}): pip install kornia, or choose another --retrieval"
        ) from None
    path = weights or fetch_retrieval_models(Path(torch.hub.get_dir()) / "checkpoints")
    state = read_state_dict(path, "--loftr_weights")
    state = {name.removeprefix("matcher."): tensor for name, tensor in state.items()}
    config: Any = copy.deepcopy(default_cfg)
    config["coarse"]["temp_bug_fix"] = True  # "new" in the checkpoint's name: trained with the mended encoding
    loftr = LoFTR(pretrained=None, config=config)
    try:
        missing = loftr.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise UserError(
            f"--loftr_weights {path}: another LoFTR's weights ({str(error).splitlines()[-1].strip()})"
        ) from error
    if missing:
        raise UserError(
            f"--loftr_weights {path}: not LoFTR's weights, it lacks {missing[0]} and {len(missing) - 1} more; "
            "give PAD's indoor_ds_new.ckpt"
        )
    return loftr.eval().requires_grad_(False)
