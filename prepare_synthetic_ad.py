#!/usr/bin/env python3
"""Render a class in MAD-Sim's layout: an animal of bricks, defects with exact masks, the true pose of every picture.

Needs Mitsuba 3 (pip install mitsuba). With LLVM at hand (Debian: apt-get install libllvm19) it is five to ten times
faster; without, the scalar variant renders the same class. The result is reproducible for its settings, and a run that
was cut off goes on where it stopped.

The embedded class is made by
    python prepare_synthetic_ad.py --out assets/demo --name 00Demo
and a class like those of MAD-Sim by
    python prepare_synthetic_ad.py --out data --name 21Mine --seed 3 --palette dark --size 800 --views_per_ring 15
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from PAD_utils.arguments import ArgumentParser
from PAD_utils.run.job import run_script
from PAD_utils.synthetic import SyntheticConfig, write_synthetic_class
from PAD_utils.synthetic.animals import PALETTES

_HELP = {
    "name": "name of the class, and of its folder in --out",
    "seed": "draws the animal, its defects and the test viewpoints",
    "palette": f"colors: {', '.join(PALETTES)}",
    "size": "width and height of the pictures in pixels",
    "views_per_ring": "training views on each of the 14 rings; MAD-Sim has 15",
    "good": "good test pictures",
    "defects": "test pictures of each kind of defect (Burrs, Missing, Stains)",
    "samples": "samples per pixel",
    "distance": "of the cameras from the object in units; MAD-Sim has 3.0, 3.5 and 4.0",
    "visible": "gray levels by which a color changes, at least, where a defect shows; less makes harder classes",
    "light_turn_deg": "turns the light of the test pictures by this angle in degrees",
    "gain": "multiplies the brightness of the object in the test pictures",
}


def parse(argv: list[str] | None) -> dict[str, Any]:
    """The command line: `out`, and the fields of SyntheticConfig."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that will hold the class")
    for item in fields(SyntheticConfig):
        default = item.default
        choices = list(PALETTES) if item.name == "palette" else None
        text = f"{_HELP[item.name]} (default: {default})"
        parser.add_argument(f"--{item.name}", type=type(default), default=default, choices=choices, help=text)
    return vars(parser.parse_args(argv))


def main(argv: list[str] | None = None) -> int:
    """Renders the class; 0, or 2 with one line on stderr when the user can mend something."""
    arguments = parse(argv)
    return run_script(lambda: write_class(arguments))


def write_class(arguments: dict[str, Any]) -> None:
    """Raises UserError for a value out of range, a missing renderer or a folder with another class."""
    out = arguments.pop("out")
    write_synthetic_class(out, SyntheticConfig(**arguments))


if __name__ == "__main__":
    sys.exit(main())
