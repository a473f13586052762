#!/usr/bin/env python3
"""Seeded random subsets of the training views, as self-contained folders that every script here reads.

--task pose    a share of the views trains the model, the others become test views with known poses:
               the benchmark of train_and_pose_est.py
--task sparse  a share of the views trains the model, the test pictures and masks stay: training on few views

The result is OUT/<share>_<seed>/<task>/<class>. The source is only read, files are copied, and the same seed gives
the same bytes.

    python prepare_subset_lego_ad.py -c 01Gorilla --task pose --share 0.8 --seed 0
    python train_and_pose_est.py -c 01Gorilla -data_path MAD-Sim_Subsets/0.8_0/pose
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from PAD_utils.arguments import ArgumentParser, add_classes, add_data_path
from PAD_utils.data.layout import class_names
from PAD_utils.data.prepare_subset import Task, prepare_subset
from PAD_utils.run.job import run_script


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = ArgumentParser(__doc__)
    add_data_path(parser)
    out = "folder for the subsets (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("MAD-Sim_Subsets"), metavar="FOLDER", help=out)
    add_classes(parser, "to take subsets of")
    task = "what the subset is for (default: %(default)s)"
    parser.add_argument("--task", choices=get_args(Task), default="pose", help=task)
    share = "share of the views that stay for training, between 0 and 1 (default: %(default)s)"
    parser.add_argument("-k", "--share", type=float, default=0.8, metavar="SHARE", help=share)
    parser.add_argument("--seed", type=int, default=0, help="draws the subset (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Writes the subsets; 0, or 2 with one line on stderr when the user can mend something."""
    arguments = parse(argv)

    def work() -> None:
        for name in arguments.classes or class_names(arguments.data_path):
            how = (arguments.task, arguments.share, arguments.seed)
            prepare_subset(arguments.data_path, name, arguments.out, *how)

    return run_script(work)


if __name__ == "__main__":
    sys.exit(main())
