"""The score of few pictures on a GPU as one launch.

Of one picture its hundreds of small kernels take four milliseconds, and three times as long to be launched one by one.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaussian_splatting.cuda_graph import Recording
from PAD_utils.score import resample
from PAD_utils.score.anomaly import Scores, score_pairs
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.features_cuda import CapturedFeatures
from PAD_utils.score.levels import ScoreConfig
from PAD_utils.score.noise import NoiseResponse
from PAD_utils.score.normality import Normality
from PAD_utils.score.pyramid import FeaturePyramid

_BATCHES = tuple(pictures // 2 for pictures in CapturedFeatures.BATCHES)  # pairs: what cuDNN has plans for
_MOST_RECORDED = 8  # each holds the memory of its intermediate results

_Learned = tuple[Normality | None, NoiseResponse | None]


class RecordedScores:
    """`score_pairs` by CUDA graphs, one per size of picture and batch of 1, 2 or 8, the last batch filled up. Sizes
    beyond the eighth are scored without."""

    def __init__(self, pyramid: FeaturePyramid, config: ScoreConfig) -> None:
        self._captured, self._config = pyramid, config
        self._plain = pyramid.pyramid if isinstance(pyramid, CapturedFeatures) else pyramid
        self._recordings: dict[tuple[object, ...], Recording[Scores]] = {}

    @staticmethod
    def can(pyramid: FeaturePyramid, config: ScoreConfig, device: torch.device) -> bool:
        """Whether the score can be recorded: one's own features may wait for the GPU, which a graph cannot."""
        ours = isinstance(pyramid, (CapturedFeatures, GradientFeatures))
        return device.type == "cuda" and config.normalized and ours

    def __call__(
        self,
        queries: Float[Tensor, "q 3 h w"],
        renderings: Float[Tensor, "q 3 h w"],
        learned: _Learned,
        usual: Float[Tensor, "q l u v"] | None,
        shown: Bool[Tensor, "q h w"],
    ) -> Scores:
        """As `score_pairs`, with `learned` the normality and the response to noise."""
        inputs = [queries, renderings, shown, *([] if usual is None else [usual])]
        batch = next((b for b in _BATCHES if b >= len(queries)), _BATCHES[-1])
        parts = [
            self._batch(list(some), batch, learned) for some in zip(*(x.split(batch) for x in inputs), strict=True)
        ]
        return Scores(torch.cat([p.maps for p in parts]), torch.cat([p.image_scores for p in parts]))

    def _batch(self, inputs: list[Tensor], batch: int, learned: _Learned) -> Scores:
        count, key = len(inputs[0]), (batch, *(tuple(x.shape[1:]) for x in inputs), *map(id, learned))
        if key not in self._recordings:
            if len(self._recordings) >= _MOST_RECORDED:
                return self._score(self._captured, inputs, learned)
            with resample.noting() as matrices:
                filled = [x.new_zeros(batch, *x.shape[1:]) for x in inputs]
                self._recordings[key] = Recording(
                    lambda x: self._score(self._plain, x, learned), filled, held=(learned, matrices)
                )
        found = self._recordings[key](inputs)
        return Scores(found.maps[:count].clone(), found.image_scores[:count].clone())

    def _score(self, pyramid: FeaturePyramid, inputs: list[Tensor], learned: _Learned) -> Scores:
        queries, renderings, shown, *usual = inputs
        normality, response = learned
        return score_pairs(
            pyramid, queries, renderings, self._config, normality, usual[0] if usual else None, response, shown
        )
