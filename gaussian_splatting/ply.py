"""Gaussians as the PLY file that 3DGS viewers open."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gaussian_splatting.files import replacing
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply_table import read_tables, write_tables
from gaussian_splatting.world import USERS_WORLD, World

_MEANS_GRID = 2.0**20  # steps of a millionth of a unit, where cameras are 3.5 units away
_LOG_SCALES_GRID = 2.0**16  # steps of 1.5e-5: float32 holds the logarithm of any unit's scale so finely
_FARTHEST = 1e9  # in units of the normalized world, where cameras are 3.5 away
_POSITION = ["x", "y", "z"]
_COLUMNS_AFTER_SH = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def save_ply(path: Path | str, gaussians: Gaussians, world: World = USERS_WORLD) -> None:
    """Writes the usual columns (x y z nx ny nz f_dc_* f_rest_* opacity scale_* rot_*; raw values), in the user's world.

    f_rest is channel-major as in 3DGS: all coefficients of red, then of green, then of blue. All are float32; so far
    from the user's origin that float32 would shift Gaussians, x y z are float64. Whole or not at all.
    """
    columns = _columns(gaussians.sh.shape[1])
    gaussians = _on_grid(gaussians, world)
    means = gaussians.means.detach().double().cpu() / world.scale + torch.tensor(world.center, dtype=torch.float64)
    values = torch.cat(
        (
            torch.zeros_like(gaussians.means),  # normals: unused, but viewers expect them
            gaussians.sh[:, 0],
            gaussians.sh[:, 1:].transpose(1, 2).flatten(1),
            gaussians.opacity_logits[:, None],
            gaussians.log_scales - math.log(world.scale),
            gaussians.quats,
        ),
        dim=1,
    )
    coordinate = "f8" if world.is_far else "f4"
    vertices = np.empty(len(gaussians), [(name, coordinate if name in _POSITION else "f4") for name in columns])
    for i, name in enumerate(_POSITION):
        vertices[name] = means[:, i].numpy()
    for name, column in zip(columns[len(_POSITION) :], values.detach().cpu().float().numpy().T, strict=True):
        vertices[name] = column
    with replacing(path) as temporary:
        write_tables(temporary, {"vertex": vertices})


def load_ply(path: Path | str, world: World = USERS_WORLD) -> Gaussians:
    """The Gaussians of a 3DGS PLY file in the user's world, on the CPU, in `world`.

    Raises ValueError naming the file if it is missing, damaged, lacks a column or holds NaN, infinity or what no model
    can hold.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: cannot be read (no such file)")
    try:
        vertices = read_tables(path)["vertex"]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise ValueError(f"{path}: not a PLY point cloud (it has no element {error})") from error
    except (ValueError, MemoryError) as error:
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
    position = torch.from_numpy(np.stack([np.asarray(vertices[c], np.float64) for c in _POSITION], axis=1))
    means = ((position - torch.tensor(world.center, dtype=torch.float64)) * world.scale).float()
    model = Gaussians(means, tail[:, 1:4] + math.log(world.scale), tail[:, 4:8], tail[:, 0], sh.contiguous())
    model = _on_grid(model, world)
    for name, value in model.as_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} hold NaN or infinity")
    if float(model.means.abs().max()) > _FARTHEST or float(model.log_scales.max()) > math.log(_FARTHEST):
        raise ValueError(f"{path}: some Gaussians are more than {_FARTHEST:.0e} units away or large; it is damaged")
    return model


def _on_grid(gaussians: Gaussians, world: World) -> Gaussians:
    """Rounded so that the way into the user's world and back ends at the same bits, whatever unit and origin it has."""
    if world == USERS_WORLD:
        return gaussians
    means = (gaussians.means.detach() * _MEANS_GRID).round() / _MEANS_GRID
    log_scales = (gaussians.log_scales.detach() * _LOG_SCALES_GRID).round() / _LOG_SCALES_GRID
    return replace(gaussians, means=means, log_scales=log_scales)


def _columns(coefficients: int) -> list[str]:
    """The column names of a model with this many spherical harmonics per channel, in the order of 3DGS."""
    dc = [f"f_dc_{i}" for i in range(3)]
    rest = [f"f_rest_{i}" for i in range(3 * (coefficients - 1))]
    return [*_POSITION, "nx", "ny", "nz", *dc, *rest, *_COLUMNS_AFTER_SH]
