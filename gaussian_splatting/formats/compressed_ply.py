"""`.compressed.ply` of PlayCanvas and SuperSplat: 16 bytes a Gaussian, and a byte per harmonic above the constant.

256 Gaussians make a chunk, which says the range of their positions, logarithmic scales and colors in 18 floats; within
it a position takes 11, 10 and 11 bits, the scales likewise, a color and the opacity 8 each, and a quaternion 2 bits for
its largest part and 10 for each other one (https://developer.playcanvas.com, "compressed PLY").
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt32
from torch import Tensor

from gaussian_splatting.files import replacing
from gaussian_splatting.formats.morton import morton_order
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import smallest_three
from gaussian_splatting.ply_table import read_tables, write_tables

_CHUNK = 256
_XYZ = (("x", 21, 11), ("y", 11, 10), ("z", 0, 11))  # where in 32 bits, and how many of them
_SCALES = (("scale_x", 21, 11), ("scale_y", 11, 10), ("scale_z", 0, 11))
_COLORS = (("r", 24, 8), ("g", 16, 8), ("b", 8, 8))
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_LARGEST_LOG_SCALE = 20.0
_SH_RANGE = 4.0  # harmonics from -4 to 4
_FAINTEST = 0.25 / 255  # as in .splat


def save_compressed_ply(path: Path, gaussians: Gaussians) -> None:
    """Writes the Gaussians, neighbors together so that the ranges of chunks are small. Whole or not at all."""
    g = gaussians.detached().to("cpu")
    g = g[torch.from_numpy(morton_order(g.means.numpy()))]
    starts = np.arange(0, len(g), _CHUNK)
    color = (0.5 + SH_C0 * g.sh[:, 0]).numpy()
    scales = g.log_scales.clamp(-_LARGEST_LOG_SCALE, _LARGEST_LOG_SCALE).numpy()
    ranges: dict[str, np.ndarray] = {}
    packed = np.empty(len(g), [(name, "<u4") for name in _PACKED])
    packed["packed_position"] = _pack(g.means.numpy(), _XYZ, starts, ranges)
    packed["packed_scale"] = _pack(scales, _SCALES, starts, ranges)
    alpha = (255 * g.opacities).round().clamp(0, 255).numpy().astype(np.uint32)
    packed["packed_color"] = _pack(color, _COLORS, starts, ranges) | alpha
    packed["packed_rotation"] = _pack_rotations(g.quats.numpy())
    chunks = np.empty(len(starts), [(name, "<f4") for name in _chunk_names()])
    for name in _chunk_names():
        chunks[name] = ranges[name]
    tables = {"chunk": chunks, "vertex": packed}
    if g.sh_degree:
        rest = g.sh[:, 1:].transpose(1, 2).flatten(1).numpy()
        names = [f"f_rest_{i}" for i in range(rest.shape[1])]
        levels = np.floor((rest / (2 * _SH_RANGE) + 0.5) * 256).clip(0, 255).astype(np.uint8)
        tables["sh"] = np.ascontiguousarray(levels).view([(name, "u1") for name in names])[:, 0]
    with replacing(path) as temporary:
        write_tables(temporary, tables)


def load_compressed_ply(path: Path) -> Gaussians:
    """The Gaussians of such a file, on the CPU. Raises ValueError, naming the file, if it is missing or damaged."""
    try:
        tables = read_tables(path)
        return _unpacked(tables["chunk"], tables["vertex"], tables.get("sh"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, ValueError, IndexError, MemoryError) as error:
        raise ValueError(f"{path}: not a complete compressed PLY ({error})") from error


def _unpacked(chunks: np.ndarray, packed: np.ndarray, sh: np.ndarray | None) -> Gaussians:
    if not len(packed) or len(chunks) != -(-len(packed) // _CHUNK):
        raise ValueError(f"{len(chunks)} chunks for {len(packed)} Gaussians")
    position = _unpack(packed["packed_position"], _XYZ, chunks)
    color = _unpack(packed["packed_color"], _COLORS, chunks)
    alpha = (torch.from_numpy((packed["packed_color"] & 255).astype(np.float32)) / 255).clamp(_FAINTEST, 1 - _FAINTEST)
    quats = torch.from_numpy(_unpack_rotations(packed["packed_rotation"]))
    harmonics = ((color - 0.5) / SH_C0)[:, None]
    if sh is not None:
        count = len(sh.dtype.names or ())
        if count not in (9, 24, 45) or len(sh) != len(packed):
            raise ValueError(f"{len(sh)} rows of {count} harmonics")
        levels = np.stack([sh[f"f_rest_{i}"] for i in range(count)], 1).astype(np.float32)
        # As in PlayCanvas: the middle of a step, but the ends of the first and the last.
        inner = np.where(levels == 0, 0, np.where(levels == 255, 256, levels + 0.5)) / 256
        rest = torch.from_numpy(((inner - 0.5) * 2 * _SH_RANGE).astype(np.float32))
        harmonics = torch.cat((harmonics, rest.unflatten(1, (3, count // 3)).transpose(1, 2)), dim=1)
    scales = _unpack(packed["packed_scale"], _SCALES, chunks)
    return Gaussians(position, scales, quats, alpha.logit(), harmonics.contiguous())


def _pack(
    values: Float[np.ndarray, "n 3"], layout: Any, starts: np.ndarray, ranges: dict[str, np.ndarray]
) -> UInt32[np.ndarray, "n"]:
    """Each column as a share of its chunk's range; the ranges are added under min_<name> and max_<name>."""
    chunk = np.arange(len(values)) // _CHUNK
    packed = np.zeros(len(values), np.uint32)
    for column, (name, shift, bits) in zip(values.T, layout, strict=True):
        low, high = (f.reduceat(column, starts).astype(np.float32) for f in (np.minimum, np.maximum))
        ranges[f"min_{name}"], ranges[f"max_{name}"] = low, high
        width = (high - low).astype(np.float64)[chunk]
        share = np.divide(column - low[chunk], width, out=np.zeros(len(column)), where=width > 0)
        packed |= np.round(share * (2**bits - 1)).astype(np.uint32) << np.uint32(shift)
    return packed


def _unpack(packed: np.ndarray, layout: Any, chunks: np.ndarray) -> Float[Tensor, "n 3"]:
    chunk = np.arange(len(packed)) // _CHUNK
    columns = []
    for name, shift, bits in layout:
        share = ((packed >> np.uint32(shift)) & np.uint32(2**bits - 1)) / (2**bits - 1)
        low, high = (chunks[f"{end}_{name}"].astype(np.float64)[chunk] for end in ("min", "max"))
        columns.append(low + share * (high - low))
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


def _pack_rotations(quats: Float[np.ndarray, "n 4"]) -> UInt32[np.ndarray, "n"]:
    largest, others = smallest_three(quats)
    levels = np.round((others * np.sqrt(0.5) + 0.5) * 1023).clip(0, 1023).astype(np.uint32)
    a, b, c = (levels[:, i] << np.uint32(shift) for i, shift in enumerate((20, 10, 0)))
    return (largest.astype(np.uint32) << np.uint32(30)) | a | b | c


def _unpack_rotations(packed: np.ndarray) -> Float[np.ndarray, "n 4"]:
    levels = np.stack([(packed >> np.uint32(shift)) & np.uint32(1023) for shift in (20, 10, 0)], 1)
    others = (levels / 1023 - 0.5) * np.sqrt(2)
    largest = (packed >> np.uint32(30)).astype(np.int64)
    quats = np.empty((len(packed), 4))
    quats[np.arange(4) != largest[:, None]] = others.ravel()
    quats[np.arange(len(quats)), largest] = np.sqrt((1 - (others**2).sum(1)).clip(0))
    return quats.astype(np.float32)


def _chunk_names() -> list[str]:
    """The 18 columns of a chunk, in the order of the format."""
    groups = [[name for name, _, _ in layout] for layout in (_XYZ, _SCALES, _COLORS)]
    return [f"{end}_{name}" for names in groups for end in ("min", "max") for name in names]
