#!/usr/bin/env python3
"""Render a class in MAD-Sim's layout: an animal of bricks, defects with exact masks, the true pose of every picture.

Needs Mitsuba 3 (pip install mitsuba). With LLVM at hand (Debian: apt-get install libllvm19) it is five to ten times
faster; without, the scalar variant renders the same class. The result is reproducible for its settings, and a run that
was cut off goes on where it stopped.

The embedded class is made by
    python prepare_synthetic_ad.py --out assets/demo --name 00Demo
and a class like those of MAD-Sim by
    python prepare_synthetic_ad.py --out data --name 21Mine --seed 3 --palette dark --size 800 --views_per_ring 15
and photographs by hand, with a lens's faults, on a table, for prepare_photos.py, by
    python prepare_synthetic_ad.py --out assets/demo --photographic
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from PAD_utils.arguments import ArgumentParser
from PAD_utils.data.layout import check_classname
from PAD_utils.run.job import run_script
from PAD_utils.synthetic import SyntheticConfig, write_synthetic_class
from PAD_utils.synthetic.animals import PALETTES
from PAD_utils.synthetic.photographic import PhotographicConfig, write_photographs
from PAD_utils.synthetic.studio import EFFECTS

_HELP = {
    "name": "name of the class, and of its folder in --out",
    "seed": "draws the animal, its defects and the test viewpoints",
    "palette": f"colors: {', '.join(PALETTES)}",
    "size": "width and height of the pictures in pixels",
    "width": "width of the photographs in pixels; the height is three quarters of it",
    "photos": "photographs of the good object, without poses, on two rings",
    "effects": f"comma-separated, of {', '.join(EFFECTS)}; or all, or none",
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
    """The command line: `out`, `photographic`, and the fields of the configuration."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that will hold the class")
    flag = "photographs as one would take them instead of MAD-Sim's pictures; --help after it lists its own options"
    parser.add_argument("--photographic", action="store_true", help=flag)
    for item in fields(PhotographicConfig if "--photographic" in argv else SyntheticConfig):
        default: Any = item.default
        choices = list(PALETTES) if item.name == "palette" else None
        kind = _effects if item.name == "effects" else type(default)
        text = f"{_HELP[item.name]} (default: {'all' if item.name == 'effects' else default})"
        parser.add_argument(f"--{item.name}", type=kind, default=default, choices=choices, help=text)
    return vars(parser.parse_args(argv))


def main(argv: list[str] | None = None) -> int:
    """Renders the class; 0, or 2 with one line on stderr when the user can mend something."""
    arguments = parse(argv)
    return run_script(lambda: write_class(arguments))


def write_class(arguments: dict[str, Any]) -> None:
    """Raises UserError for a value out of range, a missing renderer or a folder with another class."""
    out = arguments.pop("out")
    check_classname(arguments["name"])
    if arguments.pop("photographic"):
        write_photographs(out, PhotographicConfig(**arguments))
    else:
        write_synthetic_class(out, SyntheticConfig(**arguments))


def _effects(text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return EFFECTS if text == "all" else ()
    return tuple(sorted(text.split(","), key=lambda name: EFFECTS.index(name) if name in EFFECTS else -1))


if __name__ == "__main__":
    sys.exit(main())
