"""Hostile requests to a station: each must be answered by a 4xx in one line, and the station must live on.

    python -m benchmarks.bench_station_hostile DATA CLASS --times 10000

Pictures that are cut, flipped, spliced or claim other sizes, forms and addresses that are mangled, and raw bytes
instead of HTTP. A mutated file that still is a picture is inspected like any other: those are counted apart.
"""

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import argparse
import io
import json
import random
import re
import socket
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.results_file import save_result
from benchmarks.station_server import Running, station
from PAD_utils.run.job import choose_device

_SIDE = 40  # pixels: a mutation that still is a picture is then inspected in no time
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_SLOW_S = 30.0
_PIECES = (
    *("..", "%2e%2e", "parts", "static", "etc", "passwd", "0" * 32, "%00", "heat", "-1", "9" * 20, "\\", "~"),
    *("page.css%00", "%c0%ae", "?limit=9999", "?class=%27%20OR%201=1", "?hours=nan", "?before=1e99"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--prefix", default="splatpose")
    parser.add_argument("--times", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = ["--data_path", str(args.data_path), "-c", args.classname, "-p", args.prefix]
        given += ["--store", f"{folder}/store", "--rate", "1000000", "--keep", "100"]
        with station(given, Path(folder) / "log") as running:
            figures = attack(running, args.times)
            log = (Path(folder) / "log").read_text()
    figures["tracebacks_in_log"] = log.count("Traceback (most recent call last)")
    print(save_result("station_hostile", choose_device(None), figures), figures)
    print(log[-3000:] if figures["tracebacks_in_log"] else "")


def attack(running: Running, times: int) -> dict[str, object]:
    """Sends so many mutated requests and counts what came back."""
    random_, seeds = random.Random(0), [_picture(kind) for kind in _FORMATS]
    answers: Counter[str] = Counter()
    wrong: list[str] = []
    slowest, before = 0.0, running.memory_mb()
    with httpx.Client(base_url=running.address, timeout=_SLOW_S) as client:
        kinds: list[Callable[[], tuple[int, str]]] = [
            *[lambda: _post_file(client, _mutated(random_.choice(seeds), random_))] * 5,
            lambda: _post_file(client, _bomb(random_)),
            lambda: _post_form(client, random_.choice(seeds), random_),
            lambda: _get(client, running, random_),
            lambda: _raw(running, random_),
        ]
        for _ in range(times):
            start = time.perf_counter()
            kind = random_.randrange(len(kinds))
            try:
                status, text = kinds[kind]()
            except httpx.HTTPError as error:
                status, text = 0, repr(error)
            slowest = max(slowest, time.perf_counter() - start)
            answers[_verdict(status, text)] += 1
            if _verdict(status, text) == "wrong" and len(wrong) < 20:
                wrong.append(f"{kind}: {status} {text[:200]}")
    return {
        "requests": times,
        "answers": dict(answers),
        "wrong": wrong,
        "slowest_seconds": slowest,
        "alive_after": running.works(),
        "memory_mb": {"before": before, "after": running.memory_mb()},
        "open_files": running.open_files(),
    }


def _verdict(status: int, text: str) -> str:
    """refused: a 4xx in one line."""
    if status == 200:
        return "still a picture, or a page that there is"
    return "refused" if 400 <= status < 500 and text and len(text.strip().splitlines()) == 1 else "wrong"


def _picture(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


def _mutated(content: bytes, random_: random.Random) -> bytes:
    """A picture file that has been cut, flipped, spliced, doubled, or whose numbers were replaced by extreme ones."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 2, 8, 40))):
        at = random_.randrange(max(1, len(data)))
        way = random_.randrange(6)
        if way == 0:
            del data[at:]
        elif way == 1 and data:
            data[at] ^= 1 << random_.randrange(8)
        elif way == 2:
            data[at : at + random_.randrange(64)] = random_.randbytes(random_.randrange(64))
        elif way == 3:
            extreme = random_.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFF, 0x80000000))
            data[at : at + 4] = struct.pack(random_.choice(("<I", ">I")), extreme)
        elif way == 4:
            del data[at : at + random_.randrange(200)]
        else:
            header = random_.randrange(min(64, max(1, len(data))))
            data[header : header + 1] = random_.randbytes(1)
    return bytes(data)


def _bomb(random_: random.Random) -> bytes:
    """A PNG whose check sums are right and whose size is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = random_.choice((0, 1, 7000, 8000, 20_000, 65_535, 2**31 - 1))
    head = struct.pack(
        ">IIBBBBB", side, random_.choice((side, 40)), random_.choice((8, 16)), random_.choice((0, 2, 6)), 0, 0, 0
    )
    extra = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000_000))) if random_.random() < 0.2 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(bytes(5000)))
        + chunk(b"IEND", b"")
    )


def _post_file(client: httpx.Client, content: bytes) -> tuple[int, str]:
    answer = client.post("/inspect", files={"picture": ("x", content)})
    return answer.status_code, answer.text


def _post_form(client: httpx.Client, content: bytes, random_: random.Random) -> tuple[int, str]:
    """A multipart body that is mangled, or of another type than it says."""
    request = client.build_request("POST", "/inspect", files={"picture": ("x", content[:300])}, data={"class": "x" * 9})
    body = _mutated(request.read(), random_)
    kind = random_.choice(
        (request.headers["content-type"], "multipart/form-data", "application/json", "text/plain", "")
    )
    answer = client.post(
        random_.choice(("/inspect", "/login", f"/parts/{'0' * 32}/label")), content=body, headers={"content-type": kind}
    )
    return answer.status_code, answer.text


def _get(client: httpx.Client, running: Running, random_: random.Random) -> tuple[int, str]:
    """An address of pieces that lead elsewhere."""
    path = "/" + "/".join(random_.choice(_PIECES) for _ in range(random_.randrange(1, 6)))
    return _exchange(running, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


def _raw(running: Running, random_: random.Random) -> tuple[int, str]:
    """Something that hardly is HTTP."""
    host, length = random_.choice((b"evil", b"127.0.0.1", b"[", b"")), random_.choice((b"-1", b"9" * 11, b"1e3", b"5"))
    lines = [b"POST /inspect HTTP/1.1", b"Host: " + host, b"Content-Length: " + length, b"Connection: close"]
    content = _mutated(b"\r\n".join(lines) + b"\r\n\r\nhello", random_)
    return _exchange(running, content + b"\r\n\r\n")


def _exchange(running: Running, content: bytes) -> tuple[int, str]:
    """Status and body of what a socket answers to these bytes; what is closed without a word counts as refused."""
    host, port = running.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=_SLOW_S) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            answer = b""
    if not answer:
        return 400, "closed"
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)  # what follows answers the rest of the bytes
    status, text = int(head.split()[1]), body[: int(length[1]) if length else None].decode("utf-8", "replace")
    return status, json.loads(text)["error"] if text.startswith('{"error"') else text


if __name__ == "__main__":
    main()
