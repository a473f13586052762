"""Figures that others have published, each with its source: what stands beside ours."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def published() -> dict[str, Any]:
    """The content of published.json; rates are shares in [0, 1], times seconds, angles degrees.

    `detection`, `sparse`, `times` and `poses` of MAD-Sim and what is like it, with `cautions` in words; `protocols`:
    pose benchmarks on NeRF-synthetic, by the names that --protocol takes.
    """
    return json.loads((files("PAD_utils") / "report" / "published.json").read_text("utf-8"))
