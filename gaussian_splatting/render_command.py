"""`python -m gaussian_splatting.render MODEL --transforms FILE --out DIR`: pictures of a model.

    python -m gaussian_splatting.render model.ply --transforms transforms.json --out pictures --turntable

Per frame: color/<name>.png on white, alpha/<name>.png (0 to 255), depth/<name>.tiff (float32, in the model's unit along
the optical axis, 0 where nothing is). --turntable adds turntable.gif and turntable.mp4 and needs no --transforms.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from gaussian_splatting.arguments import ArgumentParser
from gaussian_splatting.camera import Camera
from gaussian_splatting.camera_file import read_cameras
from gaussian_splatting.files import replacing
from gaussian_splatting.formats import load_model
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.progress import progress
from gaussian_splatting.rendering import Rendering, render
from gaussian_splatting.turntable import around_model, around_views, write_gif, write_mp4

log = logging.getLogger(__name__)

_SURFACE_ALPHA = 0.5  # below it a pixel shows no surface that a depth could be said of
_TURNTABLE = 72  # pictures of one turn
_TURN_S = 6.0
_SIZE = (640, 480)  # of a turntable that nothing is said about


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the pictures and returns the exit code: 0, or 2 with one line on stderr when something is wrong."""
    parser = ArgumentParser(__doc__, "python -m gaussian_splatting.render MODEL --out DIR [options]")
    parser.add_argument("model", type=Path, help=".ply, .compressed.ply or .splat")
    parser.add_argument("--transforms", type=Path, metavar="FILE", help="transforms.json with the cameras")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    size_help = "of the pictures in pixels (default: w and h of the file)"
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help=size_help)
    parser.add_argument("--turntable", action="store_true", help="a film of one turn around the object")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if arguments.transforms is None and not arguments.turntable:
        parser.error("nothing to render; give --transforms FILE, --turntable or both")
    if arguments.size is not None and min(arguments.size) < 1:
        parser.error("--size takes two numbers above 0")
    try:
        _run(
            arguments.model, arguments.transforms, arguments.out, arguments.size, arguments.turntable, arguments.device
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def _run(model: Path, transforms: Path | None, out: Path, size: list[int] | None, turntable: bool, device: str) -> None:
    gaussians = load_model(model).to(device)
    wanted = None if size is None else (size[0], size[1])
    cameras = {} if transforms is None else read_cameras(transforms, wanted)
    for name, camera in progress(list(cameras.items()), desc="render"):
        write_views(out, name, gaussians, camera)
    if turntable:
        views = list(cameras.values())
        circle = around_views(views, _TURNTABLE) if views else around_model(gaussians, _TURNTABLE, wanted or _SIZE)
        write_turntable(out, gaussians, circle)
    log.info("%s: %d pictures%s", out, len(cameras), " and a turntable" if turntable else "")


@torch.no_grad()
def write_views(out: Path, name: str, gaussians: Gaussians, camera: Camera) -> None:
    """Writes color, alpha and depth of one camera, each atomically."""
    drawn = render(gaussians, [camera])
    alpha = drawn.alpha[0].clamp(0, 1).cpu().numpy()
    depth = (drawn.depth[0] / drawn.alpha[0].clamp_min(_SURFACE_ALPHA)).cpu().numpy()
    depth[alpha < _SURFACE_ALPHA] = 0
    levels = np.round(255 * alpha).astype(np.uint8)
    pictures = {
        f"color/{name}.png": Image.fromarray(_color(drawn)),
        f"alpha/{name}.png": Image.fromarray(levels),
        f"depth/{name}.tiff": Image.fromarray(depth.astype(np.float32)),
    }
    for file, picture in pictures.items():
        with replacing(out / file) as temporary:
            picture.save(temporary)


@torch.no_grad()
def write_turntable(out: Path, gaussians: Gaussians, cameras: Sequence[Camera]) -> None:
    """Writes turntable.gif and turntable.mp4, each atomically. Where no film can be encoded, a warning says so."""
    pictures = [_color(render(gaussians, [camera])) for camera in progress(cameras, desc="turntable")]
    write_gif(out / "turntable.gif", pictures[::2], _TURN_S)
    try:
        write_mp4(out / "turntable.mp4", pictures, _TURN_S)
    except ValueError as error:
        log.warning("%s; turntable.gif is there", error)


def _color(drawn: Rendering) -> UInt8[np.ndarray, "h w 3"]:
    return np.asarray((255 * drawn.image[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy())
