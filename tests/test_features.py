"""Feature pyramids: shapes, weights from torchvision's and from the original's files, and what happens without any."""

import math
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from PAD_utils.errors import UserError
from PAD_utils.score.anomaly import ScoreConfig, score_pairs
from PAD_utils.score.features import CallableFeatures, GradientFeatures, make_features
from PAD_utils.score.pyramid import imagenet_normalized
from PAD_utils.score.usual import learn_normality

# EfficientNet-B4: repeats, kernel, stride, expansion, channels in and out (Tan and Le 2019, scaled 1.4 wide, 1.8 deep)
STAGES = [(2, 3, 1, 1, 48, 24), (4, 3, 2, 6, 24, 32), (4, 5, 2, 6, 32, 56), (6, 3, 2, 6, 56, 112)]
STAGES += [(6, 5, 1, 6, 112, 160), (8, 5, 2, 6, 160, 272), (2, 3, 1, 6, 272, 448)]
TAP_BLOCKS = (1, 5, 9, 21)


def original_blocks() -> list[tuple[int, int, int, int, int]]:
    """(kernel, stride, expansion, in, out) of each of the 32 blocks."""
    return [
        (k, s if i == 0 else 1, e, c_in if i == 0 else c_out, c_out)
        for r, k, s, e, c_in, c_out in STAGES
        for i in range(r)
    ]


@pytest.fixture(scope="module")
def original_state() -> dict[str, Tensor]:
    """Random weights with the names and shapes of `efficientnet-b4-6ed6700e.pth`."""
    g = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, c_out: int, c_in: int, k: int, bias: bool = False) -> None:
        state[f"{name}.weight"] = torch.randn(c_out, c_in, k, k, generator=g) / math.sqrt(c_in * k * k)
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(c_out, generator=g)

    def norm(name: str, c: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            spread = torch.rand(c, generator=g)
            state[f"{name}.{leaf}"] = spread * 0.2 + (0.001 if leaf == "running_var" else 0.5)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    conv("_conv_stem", 48, 3, 3)
    norm("_bn0", 48)
    for i, (k, _, e, c_in, c_out) in enumerate(original_blocks()):
        b = f"_blocks.{i}."
        if e > 1:
            conv(b + "_expand_conv", c_in * e, c_in, 1)
            norm(b + "_bn0", c_in * e)
        conv(b + "_depthwise_conv", c_in * e, 1, k)
        norm(b + "_bn1", c_in * e)
        conv(b + "_se_reduce", c_in // 4, c_in * e, 1, bias=True)
        conv(b + "_se_expand", c_in * e, c_in // 4, 1, bias=True)
        conv(b + "_project_conv", c_out, c_in * e, 1)
        norm(b + "_bn2", c_out)
    conv("_conv_head", 1792, 448, 1)
    norm("_bn1", 1792)
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(1000, 1792), torch.zeros(1000)
    return state


def original_maps(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The original's network, plainly: batch norm eps 1e-3, "same" padding fixed for 380 px, taps after TAP_BLOCKS."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, w, b = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, w, b, eps=1e-3)

    def same(x: Tensor, name: str, stride: int, size: int, groups: int = 1) -> Tensor:
        w = state[f"{name}.weight"]
        total = max((math.ceil(size / stride) - 1) * stride + w.shape[-1] - size, 0)
        a, b = total // 2, total - total // 2
        return F.conv2d(F.pad(x, (a, b, a, b)), w, state.get(f"{name}.bias"), stride, groups=groups)

    maps, size = [], 190
    x = F.silu(norm(same(x, "_conv_stem", 2, 380), "_bn0"))
    for i, (_, stride, expansion, c_in, c_out) in enumerate(original_blocks()[: TAP_BLOCKS[-1] + 1]):
        b, start = f"_blocks.{i}.", x
        if expansion > 1:
            x = F.silu(norm(same(x, b + "_expand_conv", 1, size), b + "_bn0"))
        x = F.silu(norm(same(x, b + "_depthwise_conv", stride, size, groups=x.shape[1]), b + "_bn1"))
        size = math.ceil(size / stride)
        s = F.silu(same(x.mean((2, 3), keepdim=True), b + "_se_reduce", 1, 1))
        x = x * same(s, b + "_se_expand", 1, 1).sigmoid()
        x = norm(same(x, b + "_project_conv", 1, size), b + "_bn2")
        if stride == 1 and c_in == c_out:
            x = x + start
        if i in TAP_BLOCKS:
            maps.append(x)
    return maps


def test_original_weights_give_the_original_network(tmp_path: Path, original_state: dict[str, Tensor]) -> None:
    path = tmp_path / "efficientnet-b4-6ed6700e.pth"
    torch.save(original_state, path)
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    maps = make_features("efficientnet-b4", path)(images)
    expected = original_maps(original_state, imagenet_normalized(images))
    assert [m.shape[1] for m in maps] == [24, 32, 56, 160]
    assert [m.shape[2:] for m in maps] == [(48, 32), (24, 16), (12, 8), (6, 4)]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_torchvision_weights_give_torchvisions_maps(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(weights=None).eval()
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    images = torch.rand(1, 3, 64, 64)
    maps = make_features("mobilenet_v2", path)(images)
    x, expected = imagenet_normalized(images), []
    for i, stage in enumerate(model.features):
        x = stage(x)
        if i in (1, 3, 6, 13):  # the last stage of stride 2, 4, 8 and 16
            expected.append(x)
    assert [m.shape[1] for m in maps] == [16, 24, 32, 96]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("content", ["nothing", "garbage", "other", "no dict", "code"])
def test_a_wrong_weight_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pth"
    if content == "garbage":
        path.write_bytes(b"not a weight file")
    elif content == "other":
        torch.save({"conv1.weight": torch.zeros(3)}, path)
    elif content == "no dict":
        torch.save(torch.zeros(3), path)
    elif content == "code":
        torch.save({"a": Path("/")}, path)  # needs code to unpickle: refused
    with pytest.raises(UserError, match="weights.pth"):
        make_features("efficientnet-b4", path)


@pytest.mark.parametrize("name", ["efficientnet-b99", "vit_b_16"])
def test_an_unfit_backbone_is_named(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torchvision

    with pytest.raises(UserError, match=name):
        if name.startswith("vit"):
            from PAD_utils.score.features_torchvision import cut_backbone

            cut_backbone(name, torchvision.models.vit_b_16(weights=None))
        make_features(name)


def test_without_weights_warns_once_and_takes_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pyramid = make_features("efficientnet-b4")
    assert pyramid.name == "gradient"
    assert [w.category for w in caught] == [UserWarning]
    assert "--weights" in str(caught[0].message) and "no network" in str(caught[0].message)


@pytest.mark.parametrize("height, width", [(64, 64), (33, 50), (7, 5), (1, 1)])
def test_gradient_features_of_any_size(height: int, width: int) -> None:
    levels = GradientFeatures()(torch.rand(2, 3, height, width))
    assert levels[0].shape == (2, 9, height, width)
    for i, level in enumerate(levels):
        assert level.shape[2:] == (math.ceil(height / 2**i), math.ceil(width / 2**i))


def test_gradient_features_see_a_patch_at_every_level_and_only_there() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    patch = flat.clone()
    patch[:, :, 16:48, 16:48] += 0.1
    for plain, marked in zip(GradientFeatures()(flat), GradientFeatures()(patch), strict=True):
        difference = (plain - marked).square().sum(1)[0]
        middle = difference.shape[0] // 2
        assert difference[middle, middle] > 0.02
        assert difference[0, 0] < 1e-4


def test_ones_own_network_is_a_pyramid() -> None:
    pyramid = CallableFeatures("mine", lambda x: [x, F.avg_pool2d(x, 2)])
    images = torch.rand(1, 3, 8, 8)
    assert pyramid.name == "mine"
    torch.testing.assert_close(pyramid(images)[0], imagenet_normalized(images))


@pytest.mark.parametrize("config", [ScoreConfig.paper(), ScoreConfig.fast()], ids=["paper", "fast"])
def test_half_precision_changes_maps_by_less_than_a_hundredth_of_their_range(
    config: ScoreConfig, tmp_path: Path
) -> None:
    import torchvision

    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.efficientnet_b4(weights=None).state_dict(), path)
    g = torch.Generator().manual_seed(2)
    good = F.interpolate(torch.rand(3, 3, 8, 8, generator=g), size=(96, 96), mode="nearest")
    queries = (good + 0.02 * torch.randn(good.shape, generator=g)).clamp(0, 1)
    queries[:, :, 40:52, 30:44] = 0.3
    network = make_features("efficientnet-b4", path)
    assert isinstance(network, torch.nn.Module)
    normality = learn_normality(network, queries, good, config)
    full = score_pairs(network, queries, good, config, normality).maps
    half = score_pairs(network.half(), queries, good, config, normality).maps
    assert float((half - full).abs().max()) < 0.01 * float(full.max() - full.min())
