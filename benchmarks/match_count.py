"""SplatPose's choice of a first pose, with SIFT in LoFTR's place: the training view with most matches, wherever these
lie. LoFTR's checkpoint is not needed to see what a choice without geometry does."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.pose.pyramid import shrink
from gaussian_splatting.views import View

_SIDE = 400  # px: the size at which SplatPose matches
_KEYPOINTS = 500
_RATIO = 0.8  # Lowe 2004: nearest over second nearest descriptor


class MatchCountRetriever:
    """A `Retriever`: the training views' own poses, those with most matches first."""

    name = "most SIFT matches"

    def __init__(self, views: Sequence[View]) -> None:
        self._cameras = [view.camera for view in views]
        self._sift = cv2.SIFT_create(nfeatures=_KEYPOINTS)
        self._matcher = cv2.BFMatcher(cv2.NORM_L2)
        self._descriptors = [self._describe(view.image) for view in views]

    def hypotheses(self, images: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], count: int) -> list[list[Camera]]:
        """See `Retriever`."""
        return [self._most_matches(self._describe(image))[:count] for image in images]

    def _describe(self, image: UInt8[Tensor, "h w 3"]) -> np.ndarray:
        gray = cv2.cvtColor(shrink(image[None], _SIDE)[0].numpy(), cv2.COLOR_RGB2GRAY)
        _, descriptors = self._sift.detectAndCompute(gray, None)
        return np.zeros((0, 128), np.float32) if descriptors is None else descriptors

    def _most_matches(self, query: np.ndarray) -> list[Camera]:
        counts = torch.tensor([self._matches(query, known) for known in self._descriptors])
        return [self._cameras[i] for i in counts.argsort(descending=True, stable=True).tolist()]

    def _matches(self, query: np.ndarray, known: np.ndarray) -> int:
        if len(query) == 0 or len(known) < 2:
            return 0
        pairs = self._matcher.knnMatch(query, known, k=2)
        return sum(nearest.distance < _RATIO * second.distance for nearest, second in pairs)
