"""Files that are either whole or not there. Loads no torch, which takes seconds."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\.[^.]*)?")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a name to write to, beside `path` and with its suffix; renames it to `path` when the block ends well.

    The folder is made. On any error, or when nothing was written there, `path` keeps what it had.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path, apart_from: str = "") -> None:
    """Removes, below `folder`, what processes that were killed had begun to write. Nobody may be writing there now,
    but in the subfolder `apart_from`, which is left alone."""
    for path in Path(folder).rglob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name) and path.relative_to(folder).parts[0] != apart_from:
            path.unlink(missing_ok=True)
