"""The original's EfficientNet weights brought to torchvision's names."""

import re

from torch import Tensor

ORIGINAL_IMAGE_SIZE = 380  # EfficientNet-B4 was trained at 380 px: its fixed padding follows from that

# Names inside a block of EfficientNet-PyTorch, to (position in torchvision's block counted from its end, rest of name).
# A block is [expand,] depthwise, squeeze, project: the first is missing where the expansion ratio is 1.
_BLOCK_PARTS = {
    "_expand_conv": (-4, "0"),
    "_bn0": (-4, "1"),
    "_depthwise_conv": (-3, "0"),
    "_bn1": (-3, "1"),
    "_se_reduce": (-2, "fc1"),
    "_se_expand": (-2, "fc2"),
    "_project_conv": (-1, "0"),
    "_bn2": (-1, "1"),
}
_BLOCK_KEY = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)")


def is_original_efficientnet(state: dict[str, Tensor]) -> bool:
    """Whether the names are those of EfficientNet-PyTorch, as in the original's `efficientnet-b4-6ed6700e.pth`."""
    return "_conv_stem.weight" in state


def renamed_original(state: dict[str, Tensor], torchvision_names: list[str]) -> dict[str, Tensor]:
    """EfficientNet-PyTorch's state dict under torchvision's names; `torchvision_names` are those of the whole model.

    Names without a counterpart are kept, so that loading reports them.
    """
    blocks, parts_of, head = _blocks(torchvision_names)
    top = {
        "_conv_stem": "features.0.0",
        "_bn0": "features.0.1",
        "_conv_head": f"{head}.0",
        "_bn1": f"{head}.1",
        "_fc": "classifier.1",
    }
    renamed = {}
    for name, tensor in state.items():
        match = _BLOCK_KEY.fullmatch(name)
        part, _, leaf = name.rpartition(".")
        if match and int(match[1]) < len(blocks) and match[2] in _BLOCK_PARTS:
            block = blocks[int(match[1])]
            from_end, rest = _BLOCK_PARTS[match[2]]
            name = f"{block}.block.{parts_of[block] + from_end}.{rest}.{match[3]}"
        elif part in top:
            name = f"{top[part]}.{leaf}"
        renamed[name] = tensor
    return renamed


def _blocks(names: list[str]) -> tuple[list[str], dict[str, int], str]:
    """torchvision's blocks in order ("features.1.0"), the number of parts of each, the head's name ("features.8")."""
    parts: dict[str, int] = {}
    last_stage = 0
    for name in names:
        if stage := re.match(r"features\.(\d+)\.", name):
            last_stage = max(last_stage, int(stage[1]))
        if match := re.match(r"(features\.\d+\.\d+)\.block\.(\d+)\.", name):
            parts[match[1]] = max(parts.get(match[1], 0), int(match[2]) + 1)
    ordered = sorted(parts, key=lambda b: [int(n) for n in b.split(".")[1:]])
    return ordered, parts, f"features.{last_stage}"
