"""Gaussians as the PLY file that 3DGS viewers open."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from gaussian_splatting.files import replacing
from gaussian_splatting.gaussians import Gaussians

_POSITION = ["x", "y", "z"]
_COLUMNS_AFTER_SH = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def save_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes the usual columns (x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*; raw values, float32).

    f_rest is channel-major as in 3DGS: all coefficients of red, then of green, then of blue. Whole or not at all.
    """
    columns = _columns(gaussians.sh.shape[1])
    values = torch.cat(
        (
            gaussians.means,
            torch.zeros_like(gaussians.means),  # normals: unused, but viewers expect them
            gaussians.sh[:, 0],
            gaussians.sh[:, 1:].transpose(1, 2).flatten(1),
            gaussians.opacity_logits[:, None],
            gaussians.log_scales,
            gaussians.quats,
        ),
        dim=1,
    )
    rows = np.ascontiguousarray(values.detach().cpu().float().numpy())
    vertices = rows.view([(name, "f4") for name in columns])[:, 0]
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertices, "vertex")]).write(str(temporary))


def load_ply(path: Path) -> Gaussians:
    """The Gaussians of a 3DGS PLY file, on the CPU.

    Raises ValueError naming the file if it is missing, damaged, lacks a column or holds NaN or infinity.
    """
    try:
        vertices = PlyData.read(str(path))["vertex"].data
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (PlyParseError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a complete PLY point cloud ({error})") from error
    names = vertices.dtype.names or ()
    rest = sum(name.startswith("f_rest_") for name in names)
    coefficients = 1 + rest // 3
    if rest % 3 or coefficients not in (1, 4, 9, 16):
        raise ValueError(f"{path}: {rest} columns f_rest_*, expected 0, 9, 24 or 45")
    missing = [name for name in _columns(coefficients) if name not in names and name not in ("nx", "ny", "nz")]
    if missing:
        raise ValueError(f"{path}: not a 3D Gaussian model, the columns {', '.join(missing)} are missing")

    def read(columns: list[str]) -> Float[Tensor, "n c"]:
        return torch.from_numpy(np.stack([np.asarray(vertices[c], np.float32) for c in columns], axis=1))

    if len(vertices) == 0:
        raise ValueError(f"{path}: holds no Gaussians")
    tail = read(_COLUMNS_AFTER_SH)
    sh = read([f"f_dc_{i}" for i in range(3)])[:, None]
    if rest:
        others = read([f"f_rest_{i}" for i in range(rest)])
        sh = torch.cat((sh, others.unflatten(1, (3, coefficients - 1)).transpose(1, 2)), dim=1)
    model = Gaussians(read(_POSITION), tail[:, 1:4], tail[:, 4:8], tail[:, 0], sh.contiguous())
    for name, value in model.as_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} hold NaN or infinity")
    return model


def _columns(coefficients: int) -> list[str]:
    """The column names of a model with this many spherical harmonics per channel, in the order of 3DGS."""
    dc = [f"f_dc_{i}" for i in range(3)]
    rest = [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    return [*_POSITION, "nx", "ny", "nz", *dc, *rest, *_COLUMNS_AFTER_SH]
