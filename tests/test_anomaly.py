"""The paper's score against a slow, plain twin of its protocol; and laws that any score must keep."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor

from PAD_utils.score import levels, resample
from PAD_utils.score.anomaly import ScoreConfig, median_filtered, score_pairs
from PAD_utils.score.features import CallableFeatures, GradientFeatures
from PAD_utils.score.regions import find_regions

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)


def random_network(seed: int) -> Callable[[Tensor], list[Tensor]]:
    """A small convolutional network with random weights: maps of stride 2, 4 and 8."""
    g = torch.Generator().manual_seed(seed)
    weights = [torch.randn(c_out, c_in, 3, 3, generator=g) / 4 for c_in, c_out in ((3, 8), (8, 12), (12, 20))]

    def network(x: Tensor) -> list[Tensor]:
        maps = []
        for w in weights:
            x = F.silu(F.conv2d(x, w, stride=2, padding=1))
            maps.append(x)
        return maps

    return network


def paper_twin(network: Callable[[Tensor], list[Tensor]], query: Tensor, rendering: Tensor) -> np.ndarray:
    """The protocol as published, one pair at a time with PIL and scipy: the 224 px map."""
    prepared = []
    for picture in (query, rendering):
        levels = (picture.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        small = Image.fromarray(levels).resize((224, 224), Image.Resampling.BILINEAR)
        normalized = (np.asarray(small, np.float32) / 255 - MEAN) / STD
        prepared.append(torch.from_numpy(normalized.transpose(2, 0, 1))[None])
    score = (prepared[0] - prepared[1]).square().sum(1, keepdim=True)
    for a, b in zip(network(prepared[0]), network(prepared[1]), strict=True):
        level = (a - b).square().sum(1, keepdim=True)
        score = score + F.interpolate(level, size=224, mode="bilinear", align_corners=False)
    return gaussian_filter(score[0, 0].numpy(), sigma=4)


def pictures(count: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth random queries and renderings that differ a little; renderings leave [0, 1] in places."""
    g = torch.Generator().manual_seed(seed)
    base = F.interpolate(torch.rand(count, 3, 12, 12, generator=g), size=(size, size), mode="bicubic")
    noise = F.interpolate(torch.randn(count, 3, 30, 30, generator=g), size=(size, size), mode="bilinear")
    return base.clamp(0, 1), base * 1.1 + 0.05 * noise - 0.02


@pytest.mark.parametrize("size", [300, 224, 150])
def test_paper_score_is_the_published_protocol(size: int) -> None:
    network = random_network(size)
    queries, renderings = pictures(3, size)
    scores = score_pairs(CallableFeatures("random", network), queries, renderings, ScoreConfig.paper())
    for i in range(len(queries)):
        twin = paper_twin(network, queries[i], renderings[i])
        at_query_size = F.interpolate(torch.from_numpy(twin)[None, None], size=(size, size), mode="bilinear")[0, 0]
        torch.testing.assert_close(scores.maps[i], at_query_size, rtol=1e-4, atol=1e-5 * float(twin.max()))
        np.testing.assert_allclose(float(scores.image_scores[i]), float(at_query_size.max()), rtol=1e-5)


@pytest.mark.parametrize("config", [ScoreConfig.paper(), ScoreConfig.fast()], ids=["paper", "fast"])
def test_a_defect_is_found_where_it_is(config: ScoreConfig) -> None:
    queries, _ = pictures(1, 160)
    defective = queries.clone()
    defective[:, :, 40:52, 100:112] = 0.2
    both = torch.cat((defective, queries))
    scores = score_pairs(GradientFeatures(), both, queries.expand(2, -1, -1, -1), config)
    row, column = divmod(int(scores.maps[0].argmax()), 160)
    assert 38 <= row < 54 and 98 <= column < 114
    assert scores.image_scores[0] > 10 * scores.image_scores[1]


@pytest.mark.determinism
@pytest.mark.parametrize("config", [ScoreConfig.paper(), ScoreConfig.fast()], ids=["paper", "fast"])
def test_scores_do_not_depend_on_the_batch(config: ScoreConfig) -> None:
    queries, renderings = pictures(5, 96)
    together = score_pairs(GradientFeatures(), queries, renderings, config)
    alone = score_pairs(GradientFeatures(), queries[3:4], renderings[3:4], config)
    torch.testing.assert_close(together.maps[3:4], alone.maps, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.image_scores[3:4], alone.image_scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [ScoreConfig.paper(), ScoreConfig.fast()], ids=["paper", "fast"])
def test_the_score_of_a_picture_is_the_maximum_of_its_map_also_where_that_was_enlarged(config: ScoreConfig) -> None:
    scores = score_pairs(GradientFeatures(), *pictures(2, 800), config)
    assert torch.equal(scores.image_scores, scores.maps.flatten(1).amax(1))
    for score_map, score in zip(scores.maps, scores.image_scores.tolist(), strict=True):
        assert find_regions(score_map.numpy(), score * (1 - 1e-9))
        assert not find_regions(score_map.numpy(), score)


@pytest.mark.parametrize("config", [ScoreConfig.paper(), ScoreConfig.fast()], ids=["paper", "fast"])
def test_maps_have_the_querys_size_also_when_it_is_not_square(config: ScoreConfig) -> None:
    scores = score_pairs(GradientFeatures(), torch.rand(2, 3, 90, 130), torch.rand(2, 3, 90, 130), config)
    assert scores.maps.shape == (2, 90, 130) and scores.maps.dtype == torch.float32
    assert scores.image_scores.shape == (2,)
    assert bool(torch.isfinite(scores.maps).all())


def test_renderings_beyond_white_are_white() -> None:
    white = torch.ones(1, 3, 64, 64)
    for config in (ScoreConfig.paper(), ScoreConfig.fast()):
        assert float(score_pairs(GradientFeatures(), white, white * 1.3, config).image_scores) < 1e-9


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        score_pairs(GradientFeatures(), torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9), ScoreConfig.paper())


def test_the_median_of_3x3_pixels_is_scipys() -> None:
    maps = torch.rand(2, 37, 41, generator=torch.Generator().manual_seed(0))
    expected = [median_filter(one.numpy(), 3, mode="nearest") for one in maps]
    assert np.array_equal(median_filtered(maps).numpy(), np.stack(expected))


def test_white_surroundings_are_left_out_and_what_stands_in_them_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    network = random_network(0)
    features = CallableFeatures("random", lambda x: seen.append(tuple(x.shape[-2:])) or network(x))
    good = torch.ones(1, 3, 256, 320)
    good[..., 100:160, 130:200] = torch.rand(3, 60, 70, generator=torch.Generator().manual_seed(1))
    query, far = good.clone(), good.clone()
    query[..., 120:126, 150:156] = 0
    far[..., 20:26, 290:296] = 0
    near = score_pairs(features, query, good, ScoreConfig.fast()).maps[0]
    away = score_pairs(features, far, good, ScoreConfig.fast()).maps[0]
    monkeypatch.setattr(levels, "_window", lambda *_: (slice(None), slice(None)))
    whole = score_pairs(features, query, good, ScoreConfig.fast()).maps[0]
    assert seen == [(128, 160), (192, 224), (256, 320)]
    assert near.shape == whole.shape and (near - whole).abs().max() < 0.02 * whole.max()
    assert np.unravel_index(int(away.argmax()), away.shape) == pytest.approx((23, 293), abs=4)
    blank = score_pairs(features, torch.ones_like(good), torch.ones_like(good), ScoreConfig.fast())
    assert blank.image_scores.item() == 0


def test_matrices_in_use_are_noted_for_those_who_must_hold_them() -> None:
    made: list[int] = []

    @resample.kept(1)
    def matrix(size: int) -> Tensor:
        made.append(size)
        return torch.eye(size)

    first = matrix(2)
    with resample.noting() as used:
        assert matrix(2) is first and len(matrix(3)) == 3 and matrix(2) is not first
    assert [len(one) for one in used] == [2, 3, 2] and made == [2, 3, 2]
    matrix(3)
    assert len(used) == 3
