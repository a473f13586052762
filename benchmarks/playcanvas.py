"""Writes tests/data/playcanvas anew: a small model, our exports of it, and what another project makes of them.

splat-transform of PlayCanvas (MIT) reads our exports and writes its own: `npm install -g @playcanvas/splat-transform`.
The tests compare with these files, so that they need neither npm nor a network.
"""

import shutil
import subprocess
from pathlib import Path

import torch

from gaussian_splatting.export import export
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.ply import save_ply

FOLDER = Path(__file__).parent.parent / "tests/data/playcanvas"


def model(count: int = 300, degree: int = 1) -> Gaussians:
    """Gaussians of every size, turn, color and opacity; more than one chunk of a compressed PLY."""
    g = torch.Generator().manual_seed(5)
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=g) * 0.3
    sh[:, 0] = (torch.rand(count, 3, generator=g) - 0.5) / SH_C0
    scales, opacity = torch.rand(count, 3, generator=g) * 4 - 6, (torch.randn(count, generator=g) * 2).clamp(-5, 5)
    return Gaussians(torch.randn(count, 3, generator=g) * 0.4, scales, torch.randn(count, 4, generator=g), opacity, sh)


def main() -> None:
    program = shutil.which("splat-transform")
    if program is None:
        raise SystemExit("splat-transform is not installed: npm install -g @playcanvas/splat-transform")
    FOLDER.mkdir(exist_ok=True)

    def convert(source: str, target: str) -> None:
        subprocess.run([program, "-w", "-q", FOLDER / source, FOLDER / target], check=True, timeout=60)

    save_ply(FOLDER / "model.ply", model())
    for name, back in (("ours.compressed.ply", "ours_compressed.ply"), ("ours.splat", "ours_splat.ply")):
        export(FOLDER / "model.ply", FOLDER / name)
        convert(name, back)
    convert("model.ply", "theirs.compressed.ply")


if __name__ == "__main__":
    main()
