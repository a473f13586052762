"""A model as a page shows it: one color and a heat per Gaussian, about 14 bytes each, BYTES_AS_TEXT as text.

A byte plane per quantity in Morton order, neighbors as differences, deflated: browsers inflate it by themselves
(DecompressionStream). `viewer/decode.js` is the reader.
"""

import base64
import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera
from gaussian_splatting.formats.morton import morton_order
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import smallest_three
from gaussian_splatting.rendering import render

BYTES_AS_TEXT = 18
_POSITION_STEPS = 2**16 - 1
_ROTATION_STEPS = 127  # of each of the three smaller parts; the two bits left over say which is the largest


class Seen(NamedTuple):
    """Per Gaussian, over some views: its mean color as it was seen, in [0, 1], and the pixels that it covered (sum of
    its blending weights)."""

    color: Float[Tensor, "n 3"]
    pixels: Float[Tensor, "n"]


def colors_seen(gaussians: Gaussians, cameras: list[Camera]) -> Seen:
    """The color that stands for all directions: the mean of what the cameras saw, each by how much it saw.

    The gradient of the sum of a picture in a harmonic is the sum of blending weights times that harmonic's value. Its
    quotient by that of the constant one is the harmonic's mean, from which the mean color follows.
    """
    sh = gaussians.sh.detach().clone().requires_grad_()
    model = replace(gaussians.detached(), sh=sh)
    sums = torch.zeros_like(sh)
    for camera in cameras:
        with torch.enable_grad():
            sums += torch.autograd.grad(render(model, [camera]).image.sum(), sh)[0]
    constant = sums[:, :1] / SH_C0
    mean = torch.where(constant > 0, sums / constant.clamp_min(torch.finfo(sums.dtype).tiny), 0)
    mean[:, 0] = SH_C0  # for those that no camera saw
    return Seen((0.5 + (mean * gaussians.sh).sum(1)).clamp(0, 1), constant[:, 0].amax(1))


def pack(gaussians: Gaussians, color: Float[Tensor, "n 3"], heat: Float[Tensor, "n"]) -> dict[str, Any]:
    """What decode.js reads: `data`, base64, and the ranges of positions and logarithmic scales. color and heat are in
    [0, 1]; at least one Gaussian."""
    g = gaussians.detached().to("cpu")
    order = torch.from_numpy(morton_order(g.means.numpy()))
    g, color, heat = g[order], color.detach().cpu()[order], heat.detach().cpu()[order]
    low = g.means.amin(0)
    side = max(float((g.means - low).max()), 1e-9)
    steps = ((g.means - low) / side * _POSITION_STEPS).round().long().numpy()
    deltas = np.diff(steps, axis=0, prepend=0) & 0xFFFF
    smallest, largest = float(g.log_scales.min()), float(g.log_scales.max())
    scales = (g.log_scales - smallest) / max(largest - smallest, 1e-9)
    rgb = _bytes(color)
    green = rgb[:, 1:2]
    planes = [
        *(deltas & 255).T,
        *(deltas >> 8).T,
        *_differences(_bytes(scales)).T,
        *_rotation_bytes(g.quats.numpy()).T,
        *_differences(np.concatenate((green, rgb[:, ::2] - green), axis=1)).T,  # red and blue follow green
        _bytes(g.opacities),
        _bytes(heat),
    ]
    content = zlib.compress(np.stack(planes).astype(np.uint8).tobytes())  # level 9: twice the time for 0.2 %
    return {
        "count": len(g),
        "low": low.tolist(),
        "side": side,
        "logScales": [smallest, largest],
        "data": base64.b64encode(content).decode("ascii"),
    }


def _bytes(share: Tensor) -> UInt8[np.ndarray, "*n"]:
    return np.asarray((255 * share.clamp(0, 1)).round().byte().numpy())


def _differences(values: UInt8[np.ndarray, "n c"]) -> UInt8[np.ndarray, "n c"]:
    """From the row above, modulo 256."""
    return np.diff(values, axis=0, prepend=np.uint8(0))


def _rotation_bytes(quats: Float[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 3"]:
    """The three smaller parts of the unit quaternion (w, x, y, z), 7 bits each, the largest made positive. Which one
    that is stands in the highest bits of the first two bytes."""
    largest, others = smallest_three(quats)
    found = np.round((others * np.sqrt(0.5) + 0.5) * _ROTATION_STEPS).clip(0, _ROTATION_STEPS).astype(np.uint8)
    found[:, 0] |= ((largest & 1) << 7).astype(np.uint8)
    found[:, 1] |= ((largest >> 1) << 7).astype(np.uint8)
    return found
