"""How far a long step is: a bar on a terminal; elsewhere (a pipe, cron, a container) a line of the log a minute."""

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

tqdm.monitor_interval = 0  # no thread that looks after displays: where memory lacks, its start may never end
EVERY_S = 60.0  # between two lines of the log; a step that takes less has none
_LINE = "{desc}: {n_fmt} of {total_fmt} after {elapsed}, about {remaining} left{postfix}"


class _Lines(io.TextIOBase):
    """A stream that writes what is no blank to the log."""

    def write(self, text: str) -> int:
        if line := text.strip():
            log.info("%s", line)
        return len(text)


def on_terminal() -> bool:
    """Whether somebody may be watching."""
    return sys.stderr.isatty()


def progress(items: Any = None, *, desc: str, leave: bool = True, **more: Any) -> tqdm:
    """A tqdm over `items`, any iterable, or over the `total` in `more` when it is updated by hand. Where there is no
    terminal its displays go to the log of this module, one every EVERY_S seconds."""
    if on_terminal():
        return tqdm(items, desc=desc, leave=leave, **more)
    pace: dict[str, Any] = {"mininterval": EVERY_S, "miniters": 1, "delay": EVERY_S}
    return tqdm(items, desc=desc, leave=False, file=_Lines(), bar_format=_LINE, **pace, **more)
