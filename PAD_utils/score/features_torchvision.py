"""Feature pyramids over torchvision's convolutional networks, cut after the last map that is used."""

import hashlib
import math
import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from gaussian_splatting.files import replacing
from PAD_utils.errors import UserError, short_reason
from PAD_utils.score.features_weights import (
    ORIGINAL_IMAGE_SIZE,
    is_original_efficientnet,
    renamed_original,
)
from PAD_utils.score.pyramid import WeightsUnavailable, imagenet_normalized
from PAD_utils.weights import read_state_dict

STRIDES = (2, 4, 8, 16)  # deeper maps are too coarse to say where a defect is
_DOWNLOAD_TIMEOUT_S = 20.0  # silence on the line, not the whole download: a machine without network must not hang
_ORIGINAL_BATCHNORM_EPS = 1e-3  # the original's network, from TensorFlow; torchvision's B4 uses 1e-5


class TorchvisionFeatures(nn.Module):
    """The last map of each stride 2, 4, 8 and 16 of a backbone: for EfficientNet-B4 24, 32, 56 and 160 channels."""

    def __init__(self, name: str, stages: list[nn.Module], taps: list[int]) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleList(stages[: taps[-1] + 1])
        self._taps = frozenset(taps)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        dtype = next(self.stages.parameters()).dtype
        x = imagenet_normalized(images).to(dtype=dtype, memory_format=torch.channels_last)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self._taps:
                maps.append(x)
        return maps


def load_backbone(name: str, weights: Path | None) -> TorchvisionFeatures:
    """The backbone with ImageNet weights from `weights` or torch hub, batch norms folded, channels last.

    Raises WeightsUnavailable if there is no file and no download, UserError for an unknown name or an unfit file.
    """
    model, same_padding = _loaded_model(name.replace("-", "_"), name, weights)
    return cut_backbone(name, model, same_padding).to(memory_format=torch.channels_last)


def cut_backbone(name: str, model: nn.Module, same_padding: bool = False) -> TorchvisionFeatures:
    """The part of a torchvision model that makes the maps of STRIDES, ready for inference.

    `same_padding`: the strided convolutions pad as the original's do. Raises UserError if the network is of a kind
    whose stages are not plain feature maps (transformers, detectors).
    """
    model.eval().requires_grad_(False)
    stages = _stages(model)
    taps = _taps(name, stages)
    _fold_batch_norms(model)
    if same_padding:
        _pad_as_original(model)
    return TorchvisionFeatures(name, stages, taps).eval()


def _loaded_model(builder: str, name: str, weights: Path | None) -> tuple[nn.Module, bool]:
    """The whole model with weights, and whether they are the original's (which want the original's padding)."""
    if builder not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(
            f"--features {name}: no such backbone; take 'gradient', 'efficientnet-lite0' to 2, or a torchvision model, "
            "such as 'efficientnet-b4'"
        )
    if weights is None:
        state = _downloaded_state_dict(builder)
    else:
        state = read_state_dict(weights)
    original = is_original_efficientnet(state)
    model = torchvision.models.get_model(builder, weights=None, **_without_auxiliaries(builder))
    if original:
        state = renamed_original(state, list(model.state_dict()))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights or 'torch hub'}: these are not the weights of {name} ({reason}...)") from None
    if original:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = _ORIGINAL_BATCHNORM_EPS
    return model, original


def _without_auxiliaries(builder: str) -> dict[str, bool]:
    """Arguments that spare a slow random initialization where a builder has one."""
    return {"init_weights": False} if builder.startswith(("vgg", "googlenet", "inception", "mnasnet")) else {}


def _downloaded_state_dict(builder: str) -> dict[str, Tensor]:
    """torchvision's default weights through torch hub. Raises WeightsUnavailable when they cannot be had."""
    weights = torchvision.models.get_model_weights(builder).DEFAULT
    try:
        _download(weights.url, Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2])
        return dict(weights.get_state_dict(progress=False))  # finds the file there
    except (OSError, RuntimeError, HTTPException) as error:  # no network, no such host, disk full, broken download
        raise WeightsUnavailable(
            f"the weights of {builder} cannot be downloaded ({weights.url}: {short_reason(error)}); allow the download "
            "or give them with --weights FILE"
        ) from error


def _download(url: str, place: Path) -> None:
    """Fetches a file whose name ends in the beginning of its SHA-256, as torch hub's do, unless it is there.

    torch hub does the same, but knows no timeout. Raises OSError when it cannot be had or is another file.
    """
    if place.is_file():
        return
    with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response, replacing(place) as temporary:
        with temporary.open("wb") as file:
            shutil.copyfileobj(response, file)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        if not digest.startswith(place.stem.rpartition("-")[2]):
            raise OSError(f"its SHA-256 is {digest}")


def _stages(model: nn.Module) -> list[nn.Module]:
    """The steps from image to last feature map, in order, without pooling and classifier."""
    stages: list[nn.Module] = []
    for name, child in model.named_children():
        if name in ("avgpool", "classifier", "fc", "head", "heads"):
            break
        stages.extend(child.children() if name in ("features", "trunk_output", "layers") else (child,))
    return stages


def _taps(name: str, stages: list[nn.Module]) -> list[int]:
    """The last stage of each of STRIDES, found by sending a small picture through."""
    side = 64
    x, last = torch.zeros(1, 3, side, side), {}
    try:
        for index, stage in enumerate(stages):
            x = stage(x)
            if x.ndim != 4 or x.shape[2] != x.shape[3]:
                raise ValueError(f"stage {index} is no feature map")
            last[round(side / x.shape[2])] = index
    except (TypeError, ValueError, RuntimeError, AttributeError, AssertionError) as error:
        raise UserError(f"--features {name}: not a plain convolutional network ({error}); choose another") from error
    taps = [last[stride] for stride in STRIDES if stride in last]
    if not taps:
        raise UserError(f"--features {name}: has no feature map of stride 2 to 16; choose another")
    return taps


def _fold_batch_norms(module: nn.Module) -> None:
    """Folds each batch norm that follows a convolution in an nn.Sequential into that convolution, in place."""
    for child in module.children():
        _fold_batch_norms(child)
    if isinstance(module, nn.Sequential):
        for i in range(len(module) - 1):
            conv, norm = module[i], module[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i] = nn.utils.fuse_conv_bn_eval(conv, norm)
                module[i + 1] = nn.Identity()


def _pad_as_original(model: nn.Module) -> None:
    """Gives strided convolutions TensorFlow's "same" padding, computed once for the size the network was trained at.

    The original's port fixes the padding at construction: a stride-2 convolution over an even size gets nothing on the
    left and one pixel more on the right than torchvision's.
    """
    size = ORIGINAL_IMAGE_SIZE
    for path, conv in [(p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride[0] > 1]:
        stride, kernel, out = conv.stride[0], conv.kernel_size[0], math.ceil(size / conv.stride[0])
        total = max((out - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        conv.padding = (0, 0)
        parent, _, attribute = path.rpartition(".")
        padded = nn.Sequential(nn.ZeroPad2d((before, after, before, after)), conv)
        setattr(model.get_submodule(parent), attribute, padded)
        size = out
