#!/usr/bin/env python3
"""Photographs of a good part to a class that train_and_render.py reads: poses, lens, up axis, scale, and a report.

Needs pycolmap (pip install --group photos, or pip install 'pycolmap>=4.1.1'). The photographs are only read. A run that
was cut off goes on where it stopped; docs/photographs.md says how to take the photographs.

    python prepare_photos.py PHOTOS --out data -c 01Part
    python train_and_render.py -data_path data -c 01Part
"""

import argparse
import sys
from pathlib import Path

from PAD_utils.arguments import ArgumentParser
from PAD_utils.photos.prepare import LENSES, PhotoConfig, prepare_photos
from PAD_utils.run.job import run_script


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photographs of the good part")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder for the class (default: %(default)s)")
    parser.add_argument("-c", "--classname", required=True, metavar="NAME", help="name of the class")
    defaults = PhotoConfig()
    lens = "model of the lens, one of COLMAP's (default: %(default)s)"
    parser.add_argument("--lens", choices=LENSES, default=defaults.lens, help=lens)
    size = "longer pictures are shrunk to this many pixels (default: %(default)s)"
    parser.add_argument("--size", dest="longest_px", type=int, default=defaults.longest_px, help=size)
    colmap = "take poses and lens from this COLMAP model (binary or text) of the photographs"
    parser.add_argument("--colmap", type=Path, metavar="DIR", help=colmap)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prepares the class; 0, or 2 with one line on stderr when the user can mend something."""
    a = parse(argv)

    def work() -> None:
        prepare_photos(a.photos, a.out, a.classname, PhotoConfig(a.lens, a.longest_px, a.colmap))

    return run_script(work)


if __name__ == "__main__":
    sys.exit(main())
