"""Which pictures lie in a folder, and in which order. Reads no pictures."""

import logging
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gaussian_splatting.images import PICTURE_SUFFIXES

_OTHER_PROGRAMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
_NAMED = 8  # names in a warning
_log = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[Any, ...]:
    """Sorts 2.png before 10.png."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def folded(name: str) -> str:
    """Equal for names that meet in one file on some system: Windows and macOS know no capitals, macOS one way to write
    an accent (Unicode's NFC and NFD)."""
    return unicodedata.normalize("NFC", name).casefold()


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in natural order, without those of other programs; none when it does not exist."""
    found = (entry.name for entry in _entries(folder) if _is_picture(entry.name) and _is(entry.is_file))
    return [folder / name for name in sorted(found, key=natural_key)]


def note_left_out(folder: Path, used: Iterable[Path] = ()) -> None:
    """One warning that names what `list_pictures` does not list, but for folders that hold some of the `used` files.

    Hidden files and those that other programs leave are not worth a word.
    """
    known = {*list_pictures(folder), *(parent for path in used for parent in path.parents)}
    others = (entry.name for entry in _entries(folder) if folder / entry.name not in known)
    left_out = sorted((name for name in others if not is_foreign(Path(name))), key=natural_key)
    if left_out:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        formats = " ".join(sorted(PICTURE_SUFFIXES))
        _log.warning("%s: left out: %s%s (read are %s)", folder, ", ".join(left_out[:_NAMED]), more, formats)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without those of other programs; none when it does not exist."""
    return sorted(entry.name for entry in _entries(folder) if _is(entry.is_dir) and not is_foreign(Path(entry.name)))


def is_foreign(path: Path) -> bool:
    """Whether a file or folder is hidden or is known to be left by another program (macOS, Windows, a NAS)."""
    return path.name.startswith(".") or path.name.lower() in _OTHER_PROGRAMS


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not is_foreign(Path(name))


def _is(asked: Callable[[], bool]) -> bool:
    """As `Path.is_file`: a link that leads to itself is neither file nor folder, and no error."""
    try:
        return asked()
    except OSError:
        return False


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    """They know already whether they are files: asking for each anew takes long on some file systems."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return list(entries)
