"""Ways in which a file can be wrong: bytes, JSON, and what lies in its place. All are drawn from a given generator."""

import copy
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_JUNK: tuple[Any, ...] = (
    *(None, True, "", "x", "../../etc/passwd", "\0", "\ud800", "a" * 5000, [], {}, [[]], [1, 2], {"a": 1}),
    *(-1, 0, 1e308, -1e-320, 10**400, float("nan"), float("inf"), -float("inf")),
)
_OTHER_FILES = (
    b"",
    b"\0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"PK\x03\x04",
    b"<html></html>",
    b"ply\nformat ascii 1.0\n",
)


@dataclass(frozen=True)
class Mutation:
    """What was done to a file. `harmless`: it means the same, and must not be refused."""

    said: str
    harmless: bool = False


def mutate_bytes(path: Path, draw: random.Random) -> Mutation:
    """Changes a file somewhere, or cuts it."""
    content = bytearray(path.read_bytes())
    said, changed = draw.choice(_BYTES)(content, draw)
    path.write_bytes(bytes(changed))
    return Mutation(said)


def replace_file(path: Path, draw: random.Random) -> Mutation:
    """Puts something else in the place of a file: nothing, a folder, a link, a pipe, a file of another kind."""
    path.unlink()
    kind = draw.choice(("missing", "folder", "loop", "pipe", "endless", "other"))
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "other":
        path.write_bytes(draw.choice(_OTHER_FILES))
    return Mutation(kind)


def mutate_json(path: Path, draw: random.Random) -> Mutation:
    """Changes a JSON file where it is read: values, keys, encoding."""
    content = json.loads(path.read_text("utf-8"))
    if draw.random() < 0.2:
        return _respell(path, content, draw)
    said = draw.choice((_replace_value, _replace_value, _remove, _repeat, _rename, _nest))(content, draw)
    path.write_text(json.dumps(content), "utf-8", errors="surrogatepass")
    if draw.random() < 0.1:
        said = _repeat_key(path, content) or said
    return Mutation(said)


def same_structure(a: Any, b: Any) -> bool:
    """Whether two JSON values differ in finite numbers only: a change that nobody can see the wrong of."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_structure(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_structure, a, b))
    numbers = [isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)]
    return all(numbers) or (not any(numbers) and type(a) is type(b) and a == b)


def _flip(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at = draw.randrange(max(1, len(content)))
    if content:
        content[at] ^= 1 << draw.randrange(8)
    return f"a bit of byte {at} flipped", content


def _flip_early(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at = draw.randrange(max(1, min(64, len(content))))
    if content:
        content[at] = draw.randrange(256)
    return f"byte {at} set to {content[at] if content else None}", content


def _cut(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at = draw.randrange(max(1, len(content)))
    return f"cut after {at} of {len(content)} bytes", content[:at]


def _cut_tail(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    count = draw.randrange(1, 40)
    return f"the last {count} bytes cut off", content[:-count]


def _take_out(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at, count = draw.randrange(max(1, len(content))), draw.randrange(1, 64)
    return f"{count} bytes taken out at {at}", content[:at] + content[at + count :]


def _put_in(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at, more = draw.randrange(len(content) + 1), bytes(draw.randrange(256) for _ in range(draw.randrange(1, 64)))
    return f"{len(more)} bytes put in at {at}", content[:at] + more + content[at:]


def _blank(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at, count = draw.randrange(max(1, len(content))), draw.choice((1, 16, 512, 4096))
    content[at : at + count] = bytes(len(content[at : at + count]))
    return f"{count} bytes blanked at {at}", content


def _largest(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    at, count = draw.randrange(max(1, min(200, len(content)))), draw.choice((1, 2, 4, 8))
    content[at : at + count] = b"\xff" * len(content[at : at + count])
    return f"{count} bytes set to 255 at {at}", content


def _double(content: bytearray, _: random.Random) -> tuple[str, bytearray]:
    return "written twice", content + content


def _append(content: bytearray, draw: random.Random) -> tuple[str, bytearray]:
    return "a trailer appended", content + bytes(draw.randrange(256) for _ in range(draw.randrange(1, 2000)))


_BYTES: tuple[Callable[[bytearray, random.Random], tuple[str, bytearray]], ...] = (
    *(_flip, _flip, _flip, _flip_early, _flip_early, _cut, _cut, _cut_tail, _take_out, _put_in, _blank, _largest),
    *(_double, _append),
)


def _places(content: Any, of: type | tuple[type, ...] = (dict, list)) -> list[tuple[Any, Any]]:
    """(container, key or index) of everything in nested containers of these types."""
    found: list[tuple[Any, Any]] = []
    keys = content.keys() if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        if isinstance(content, of):
            found.append((content, key))
        if isinstance(content[key], (dict, list)):
            found += _places(content[key], of)
    return found


def _somewhere(content: Any, draw: random.Random, of: type | tuple[type, ...] = (dict, list)) -> tuple[Any, Any]:
    """A place; those near the top as likely as the many numbers of the matrices."""
    places = _places(content, of) or _places(content)
    named = [place for place in places if isinstance(place[1], str)]
    return draw.choice(named if named and draw.random() < 0.6 else places)


def _replace_value(content: Any, draw: random.Random) -> str:
    container, key = _somewhere(content, draw)
    container[key] = copy.deepcopy(draw.choice(_JUNK))
    return f"{key} replaced by {str(container[key])[:30]!r}"


def _remove(content: Any, draw: random.Random) -> str:
    container, key = _somewhere(content, draw)
    del container[key]
    return f"{key} removed"


def _repeat(content: Any, draw: random.Random) -> str:
    container, key = _somewhere(content, draw, list)
    if not isinstance(container, list):
        return _remove(content, draw)
    container.insert(draw.randrange(len(container) + 1), copy.deepcopy(container[key]))
    return f"item {key} repeated"


def _rename(content: Any, draw: random.Random) -> str:
    container, key = _somewhere(content, draw, dict)
    name = draw.choice((key.upper(), key + "_", "unheard_of"))
    container[name] = container.pop(key)
    return f"{key} renamed to {name}"


def _nest(content: Any, draw: random.Random) -> str:
    container, key = _somewhere(content, draw)
    depth = draw.choice((1, 3, 900))
    for _ in range(depth):
        container[key] = [container[key]]
    return f"{key} in {depth} lists"


def _repeat_key(path: Path, content: Any) -> str | None:
    if not isinstance(content, dict) or not content:
        return None
    key = next(iter(content))
    text = path.read_text("utf-8", errors="surrogatepass")
    path.write_text("{" + json.dumps(key) + ": 7, " + text.lstrip()[1:], "utf-8", errors="surrogatepass")
    return f"the key {key} given twice"


def _respell(path: Path, content: Any, draw: random.Random) -> Mutation:
    """The same content in other bytes; the last ones are no JSON."""
    text = json.dumps(content)
    kinds: dict[str, tuple[bytes, bool]] = {
        "byte order mark": (b"\xef\xbb\xbf" + text.encode(), True),
        "indented, with CRLF": (json.dumps(content, indent=3).replace("\n", "\r\n").encode(), True),
        "keys in another order": (json.dumps(content, sort_keys=True).encode(), True),
        "UTF-16": (text.encode("utf-16"), False),
        "100,000 brackets": (b"[" * 100_000, False),
        "Latin-1": (b'{"\xe9": 1, ' + text[1:].encode(), False),
        "a comment": (b"// poses\n" + text.encode(), False),
        "a comma at the end": (text[:-1].encode() + b",}", False),
    }
    said = draw.choice(sorted(kinds))
    path.write_bytes(kinds[said][0])
    return Mutation(said, kinds[said][1])
