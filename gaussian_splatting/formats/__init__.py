"""Files that hold Gaussians, chosen by their names: `.ply` of 3DGS, `.compressed.ply` of PlayCanvas, `.splat`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gaussian_splatting.formats.compressed_ply import load_compressed_ply, save_compressed_ply
from gaussian_splatting.formats.splat import load_splat, save_splat
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply, save_ply


class Format(NamedTuple):
    """A file format: what reads it and what writes it, and the highest degree of harmonics that it holds."""

    load: Callable[[Path], Gaussians]
    save: Callable[[Path, Gaussians], None]
    sh_degree: int


FORMATS = {  # by the end of the name, the longest first
    ".compressed.ply": Format(load_compressed_ply, save_compressed_ply, 3),
    ".splat": Format(load_splat, save_splat, 0),
    ".ply": Format(load_ply, save_ply, 3),
}
_ELSEWHERE = (".spz", ".sog", ".ksplat", ".glb")  # splat-transform writes them from a .ply


def format_of(path: Path) -> Format:
    """The format that a file name stands for. Raises ValueError naming those that there are."""
    for ending, found in FORMATS.items():
        if path.name.lower().endswith(ending):
            return found
    known = ", ".join(FORMATS)
    if path.suffix.lower() in _ELSEWHERE:
        raise ValueError(
            f"{path}: {path.suffix} is neither read nor written here, only {known} are; "
            f"npx @playcanvas/splat-transform MODEL.ply {path.name} makes one"
        )
    raise ValueError(f"{path}: the name says no format that is known here; end it in {known}")


def load_model(path: Path) -> Gaussians:
    """The Gaussians of a file of any of these formats, on the CPU, in the file's own world.

    Raises ValueError, naming the file, for an unknown format or a damaged file.
    """
    return format_of(path).load(path)
