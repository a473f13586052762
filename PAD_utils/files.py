"""Files that are either whole or not there: everything is written beside its place and renamed."""

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gaussian_splatting.files import replacing
from PAD_utils.errors import UserError

_SUM = "sum"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a name to write to, beside `path` and with its suffix; renames it to `path` when the block ends well.

    The folder is made. On any error, or when nothing was written there, `path` keeps what it had.
    Raises UserError, naming `path`, when the disk is full or the place may not be written to.
    """
    with explaining(path), replacing(path) as temporary:
        yield temporary


@contextmanager
def explaining(path: str | Path) -> Iterator[None]:
    """Raises UserError, naming `path`, when the disk is full or the place may not be written to."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes `content` to `path`, atomically. Raises as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, atomically; what is no letter, as in names of files, as \\x... Raises as
    `atomic_path`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, content: Any, indent: int | None = 2) -> None:
    """Writes `content` as JSON, atomically. Raises ValueError on NaN and infinity (not JSON); else as `atomic_path`."""
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: not written, it would hold NaN or infinity ({error})") from error
    write_text(path, text + "\n")


def write_checked_json(path: str | Path, content: dict[str, Any], indent: int | None = 2) -> None:
    """As `write_json`, with a check sum under the key "sum"."""
    write_json(path, {**content, _SUM: check_sum(content)}, indent)


def read_checked_json(path: str | Path) -> dict[str, Any]:
    """What `write_checked_json` wrote. Raises UserError as `read_json`, and when it was changed since."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no object; fetch or make it again")
    if content.pop(_SUM, None) != check_sum(content):
        raise UserError(f"{path} was changed since it was written; fetch or make it again")
    return content


def check_sum(content: Any) -> str:
    """A short hash of bytes or of JSON-like values: damage changes it."""
    data = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def write_json_object(path: str | Path, items: Iterable[tuple[str, Any]]) -> None:
    """Writes an object of JSON, one key a line, without holding more than one value. Raises as `write_json`."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("{")
        for number, (key, value) in enumerate(items):
            file.write(f"{',' if number else ''}\n{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
        file.write("\n}\n")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises UserError when it is missing, unreadable or cut short, or gives a key twice:
    of two values nobody knows which is meant."""
    try:
        return json.loads(read_bytes(path), object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); fetch or make it again") from None


def read_bytes(path: str | Path) -> bytes:
    """The content of a file. Raises UserError when it is missing, unreadable or none: a pipe would never end."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return content


def _explained(error: OSError, path: str | Path) -> Exception:
    """The UserError for a full disk or a forbidden place; any other error as it is."""
    if error.errno in _FULL:
        return UserError(f"{path} could not be written: the disk is full; free some space or choose another place")
    if error.errno in _FORBIDDEN:
        return UserError(f"{path} could not be written ({error.strerror}); choose a place that you may write to")
    return error
