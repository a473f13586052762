#!/usr/bin/env python3
"""MAD-Sim to the format that 3D Gaussian splatting reads (Blender's): RGBA training pictures, transforms_train.json,
transforms_test.json, and the test pictures with their masks.

The source is only read. What is there already is kept, so a run that was cut off goes on. Nothing in it is random.
train_and_render.py takes raw MAD-Sim folders as they are; this is for other software, and for looking at the data.

    python prepare_lego_ad.py --data_path MAD-Sim --out MAD-Sim_3dgs -c 01Gorilla 02Unicorn
    python prepare_lego_ad.py --download            fetches MAD-Sim first (CC BY-NC-SA 4.0, about 1 GB)
"""

import argparse
import sys
from pathlib import Path

from PAD_utils.arguments import ArgumentParser, add_classes, add_data_path
from PAD_utils.data.download import fetch_mad_sim
from PAD_utils.data.layout import class_names
from PAD_utils.data.prepare import prepare_class
from PAD_utils.run.job import run_script


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(__doc__)
    add_data_path(parser)
    out = "folder for the prepared classes (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("MAD-Sim_3dgs"), metavar="FOLDER", help=out)
    add_classes(parser, "to prepare")
    download = "fetch MAD-Sim from Google Drive into --data_path first, unless it is there"
    parser.add_argument("--download", action="store_true", help=download)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Prepares the classes; 0, or 2 with one line on stderr when the user can mend something."""
    arguments = parse(argv)

    def work() -> None:
        if arguments.download:
            fetch_mad_sim(arguments.data_path)
        for name in arguments.classes or class_names(arguments.data_path):
            prepare_class(arguments.data_path, name, arguments.out)

    return run_script(work)


if __name__ == "__main__":
    sys.exit(main())
