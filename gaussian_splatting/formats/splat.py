"""`.splat` (antimatter15/splat, read by nearly every web viewer): 32 bytes a Gaussian, one color, no harmonics.

Position and the three standard deviations in float32, then a byte each for red, green, blue, opacity, and for the
quaternion's w, x, y, z: 128 + 128 times the number. Colors are what a viewer shows, 0 to 255.
"""

from pathlib import Path

import numpy as np
import torch

from gaussian_splatting.files import replacing
from gaussian_splatting.gaussians import SH_C0, Gaussians

_ROW = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
_FAINTEST = 0.25 / 255  # a byte of 0 or 255 stands for about this distance from 0 or 1: a logit must be finite


def save_splat(path: Path, gaussians: Gaussians) -> None:
    """Writes the Gaussians, the largest and most opaque first, as viewers that load bit by bit want them. Whole or not
    at all. Harmonics above the constant are left out, colors are clamped to [0, 1]."""
    order = (gaussians.log_scales.sum(1) + gaussians.opacities.log()).argsort(descending=True, stable=True)
    g = gaussians.detached().to("cpu")[order.cpu()]
    rows = np.empty(len(g), _ROW)
    rows["position"], rows["scale"] = g.means.float().numpy(), g.scales.float().numpy()
    color = torch.cat((0.5 + SH_C0 * g.sh[:, 0], g.opacities[:, None]), dim=1)
    rows["rgba"] = (255 * color.clamp(0, 1)).round().byte().numpy()
    q = torch.nn.functional.normalize(g.quats, dim=1)
    largest = q.gather(1, q.abs().argmax(1, keepdim=True))
    q = torch.where(largest > 0, -q, q)  # q and -q are one rotation; -1 has a byte of its own, +1 has none
    rows["rotation"] = (128 + 128 * q).round().clamp(0, 255).byte().numpy()
    with replacing(path) as temporary:
        rows.tofile(temporary)


def load_splat(path: Path) -> Gaussians:
    """The Gaussians of a .splat file, on the CPU. Raises ValueError, naming the file, if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    if not content or len(content) % _ROW.itemsize:
        raise ValueError(f"{path}: not a whole .splat file, {len(content)} bytes are no multiple of {_ROW.itemsize}")
    rows = np.frombuffer(content, _ROW)
    position, scale = (torch.from_numpy(rows[name].copy()) for name in ("position", "scale"))
    rgba, rotation = (torch.from_numpy(rows[name].astype(np.float32)) for name in ("rgba", "rotation"))
    opacity = (rgba[:, 3] / 255).clamp(_FAINTEST, 1 - _FAINTEST)
    sh = ((rgba[:, :3] / 255 - 0.5) / SH_C0)[:, None]
    model = Gaussians(position, scale.log(), (rotation - 128) / 128, opacity.logit(), sh)
    if not all(bool(torch.isfinite(value).all()) for value in model.as_dict().values()):
        raise ValueError(f"{path}: holds a position or size that is no finite number above 0")
    return model
