"""`python -m gaussian_splatting.export MODEL OUT`: a model in the format that a viewer opens, by the end of OUT's name.

    python -m gaussian_splatting.export model.ply model.compressed.ply

.compressed.ply (SuperSplat, PlayCanvas), .splat (most web viewers; one color a Gaussian) and .ply (all); MODEL may be
any of these too.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from gaussian_splatting.arguments import ArgumentParser
from gaussian_splatting.crop import of_object, within
from gaussian_splatting.formats import FORMATS, format_of, load_model
from gaussian_splatting.gaussians import Gaussians

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file and returns the exit code: 0, or 2 with one line on stderr when something is wrong."""
    parser = ArgumentParser(__doc__, "python -m gaussian_splatting.export MODEL OUT [--crop [X Y Z RADIUS]]")
    parser.add_argument("model", type=Path, help="a file in one of the formats")
    parser.add_argument("out", type=Path, help=f"what to write; ends in {', '.join(FORMATS)}")
    crop_help = (
        "only the largest connected cloud of Gaussians; with four numbers, what lies within that sphere, in the "
        "model's own unit"
    )
    parser.add_argument("--crop", nargs="*", type=float, metavar="NUMBER", help=crop_help)
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        export(arguments.model, arguments.out, arguments.crop)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def export(model: Path, out: Path, crop: Sequence[float] | None = None) -> None:
    """Reads a model and writes it to `out`, atomically, in the format of its name.

    crop: None keeps all, an empty sequence the object (`of_object`), (x, y, z, radius) a sphere. Raises ValueError
    naming the file for an unknown format, a damaged model or a crop that keeps nothing, OSError as the disk does.
    """
    target = format_of(out)
    gaussians = load_model(model)
    kept = gaussians[_cropped(gaussians, crop)] if crop is not None else gaussians
    if not len(kept):
        raise ValueError(f"{model}: no Gaussian lies within the sphere of --crop; its mean is {_mean(gaussians)}")
    if kept.sh_degree > target.sh_degree:
        log.info("%s: this format holds one color per Gaussian; how colors change with the direction is left out", out)
        kept = replace(kept, sh=kept.sh[:, : (target.sh_degree + 1) ** 2])
    target.save(out, kept)
    removed = f" ({len(gaussians) - len(kept)} cropped away)" if crop is not None else ""
    log.info("%s: %d Gaussians%s, %d bytes", out, len(kept), removed, out.stat().st_size)


def _cropped(gaussians: Gaussians, crop: Sequence[float]) -> Bool[Tensor, "n"]:
    if not crop:
        return of_object(gaussians)
    if len(crop) != 4 or not crop[3] > 0:
        raise ValueError("--crop takes no number, or four: X Y Z RADIUS, the radius above 0")
    return within(gaussians, torch.tensor(crop[:3]), crop[3])


def _mean(gaussians: Gaussians) -> str:
    return ", ".join(f"{value:.3g}" for value in gaussians.means.mean(0).tolist())


if __name__ == "__main__":
    raise SystemExit(main())
