"""What the command lines of several scripts share."""

import argparse
from pathlib import Path

from gaussian_splatting.arguments import ArgumentParser as ArgumentParser


def add_classes(parser: argparse.ArgumentParser, what: str) -> None:
    """-c of the scripts that prepare data: one class, several, or all that there are."""
    help = f"classes {what} (default: all that are in --data_path)"
    parser.add_argument("-c", "--classname", "--classes", nargs="+", metavar="CLASS", dest="classes", help=help)


def add_data_path(parser: argparse.ArgumentParser) -> None:
    """--data_path of the scripts that prepare data."""
    help = "folder that holds the classes (default: %(default)s)"
    parser.add_argument("--data_path", type=Path, default=Path("MAD-Sim"), metavar="FOLDER", help=help)
