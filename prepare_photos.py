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
from PAD_utils.data.layout import check_classname
from PAD_utils.photos.background import BACKGROUNDS
from PAD_utils.photos.plate import write_page
from PAD_utils.photos.prepare import LENSES, PhotoConfig, prepare_photos
from PAD_utils.photos.queries import prepare_queries
from PAD_utils.run.job import run_script


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(__doc__, "%(prog)s PHOTOS --out DATA -c NAME [options]")
    parser.add_argument("photos", type=Path, nargs="?", metavar="PHOTOS", help="folder of photographs of the good part")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder for the class (default: %(default)s)")
    parser.add_argument("-c", "--classname", metavar="NAME", help="name of the class")
    defaults = PhotoConfig()
    lens = "model of the lens, one of COLMAP's (default: %(default)s)"
    parser.add_argument("--lens", choices=LENSES, default=defaults.lens, help=lens)
    size = "longer pictures are shrunk to this many pixels (default: %(default)s)"
    parser.add_argument("--size", dest="longest_px", type=int, default=defaults.longest_px, help=size)
    masks = "folder of masks, white on the part, named as the photographs (<name>.png or <name>_mask.png)"
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help=masks)
    background = "keep it, cut the part out, or auto: keep one color, cut out of any other (default: %(default)s)"
    parser.add_argument("--background", choices=BACKGROUNDS, default=defaults.background, help=background)
    queries = "photographs to judge: folders of kinds go to test/<kind>, files to queries/ for --images"
    parser.add_argument("--queries", type=Path, metavar="FOLDER", help=queries)
    query_masks = "ground truth of the queries, in folders of the same kinds"
    parser.add_argument("--query_masks", type=Path, metavar="FOLDER", help=query_masks)
    colmap = "take poses and lens from this COLMAP model (binary or text) of the photographs"
    parser.add_argument("--colmap", type=Path, metavar="FOLDER", help=colmap)
    plate = "the part stands on the printed plate, which tells the poses; for parts without texture and turntables"
    parser.add_argument("--plate", action="store_true", help=plate)
    page = "write the plate as a page to print (.png or .pdf), and nothing else"
    parser.add_argument("--plate_page", type=Path, metavar="FILE", help=page)
    arguments = parser.parse_args(argv)
    if arguments.plate_page is None and (arguments.photos is None or arguments.classname is None):
        parser.error("PHOTOS and -c NAME are needed")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Prepares the class; 0, or 2 with one line on stderr when the user can mend something."""
    a = parse(argv)

    def work() -> None:
        if a.plate_page is not None:
            write_page(a.plate_page)
            return
        check_classname(a.classname)
        config = PhotoConfig(a.lens, a.longest_px, a.background, a.masks, a.colmap, a.plate)
        root = prepare_photos(a.photos, a.out, a.classname, config)
        if a.queries is not None:
            prepare_queries(root, a.queries, a.query_masks)

    return run_script(work)


if __name__ == "__main__":
    sys.exit(main())
