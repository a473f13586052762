"""What the station refuses: hosts, origins, tokens, sizes, rates, wrong files, and ways into the file system."""

import io
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from PAD_utils.station import security
from PAD_utils.station.parts import RefusedError
from PAD_utils.station.photographs import check_upload, display_name
from PAD_utils.station.security import Rate
from PAD_utils.station.settings import Limits
from PAD_utils.station.table import as_csv
from tests.station_class import GOOD, NAME, served, settings, train

TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, NAME)
    return folder


@pytest.fixture(scope="module")
def client(data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    given = settings(
        data_path,
        tmp_path_factory.mktemp("store"),
        classes=[NAME],
        rate=1e6,
        limits=Limits(request_bytes=1 << 20, picture_bytes=1 << 19),
    )
    with served(given) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def png_header(width: int, height: int) -> bytes:
    """A whole PNG file that claims a size and holds a few bytes: unpacked, it would fill the memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    """A hundred million pixels in a few kilobytes."""
    content = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(content, "PNG")
    return content.getvalue()


def gif() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64)).save(content, "GIF")
    return content.getvalue()


WRONG_FILES = {
    "nothing": (b"", 415),
    "text": (b"hello", 415),
    "cut short": (GOOD[: len(GOOD) // 2], 422),
    "flipped bits": (GOOD[:200] + bytes(b ^ 0xFF for b in GOOD[200:400]) + GOOD[400:], 422),
    "bomb": (bomb(), 413),
    "huge claim": (png_header(2**31 - 1, 2**31 - 1), 415),
    "less than claimed": (png_header(4000, 4000), 422),
    "a thread": (png_header(60_000, 40), 422),
    "tiny": (png_header(8, 8), 422),
    "gif": (gif(), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n", 415),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
    "large": (GOOD + bytes(1 << 19), 413),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_wrong_files_are_refused_in_one_line(client: httpx.Client, name: str) -> None:
    content, status = WRONG_FILES[name]
    answer = client.post("/inspect", files={"picture": (f"{name}.png", content)})
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"} and "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"picture": "text"}},
        {"files": {"other": ("a.png", GOOD)}},
        {"files": {"picture": ("a.png", GOOD)}, "data": {"class": "../../etc"}},
        {"files": {"picture": ("a.png", GOOD)}, "data": {"class": NAME, "more": "x"}},
        {"files": [("picture", (f"{i}.png", GOOD)) for i in range(13)]},
        {"content": GOOD, "headers": {"content-type": "image/png"}},
        {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"json": {"picture": "x"}},
    ],
)
def test_wrong_forms_are_refused_in_one_line(client: httpx.Client, form: dict) -> None:
    answer = client.post("/inspect", **form)
    assert 400 <= answer.status_code < 500 and answer.json()["error"]


def test_larger_requests_than_are_allowed_end_early(client: httpx.Client) -> None:
    assert client.post("/inspect", files={"picture": ("a.png", bytes(1 << 20))}).status_code == 413

    def unannounced() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield bytes(1 << 16)

    answer = client.post("/inspect", content=unannounced(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413 and answer.json()["error"]


INTRUDING = (
    "/parts/../../../etc/passwd",
    "/parts/..%2f..%2fetc%2fpasswd",
    "/static/..%2fpage.css",
    "/static/../application.py",
    f"/parts/{'0' * 32}/0/..%2f0_original.png",
    f"/parts/{'0' * 32}/0/original",
    "/parts/%00",
    "/static/%2e%2e%2fstation.py",
    "//etc/passwd",
    "/static/",
    "/parts/",  # not led elsewhere: an address is right or wrong
)


@pytest.mark.parametrize("path", INTRUDING)
def test_no_path_reaches_the_file_system(client: httpx.Client, path: str) -> None:
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port)) as connection:  # as it is: clients would tidy it up
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] in (b"400", b"404", b"422"), answer
    assert b"error" in answer and b"root:" not in answer


def test_names_of_files_are_shown_and_nothing_else(client: httpx.Client, tmp_path: Path) -> None:
    name = "../../x/<b>&\n\x00=1+1.png"
    assert display_name(name) == "<b>&??=1+1.png" and display_name("") == "picture"
    part = client.post("/inspect", files={"picture": ("../../../evil.png", GOOD)}).json()
    assert part["photographs"][0]["name"] == "evil.png"
    formula = part | {"number": 1, "photographs": [{"name": "=cmd()"}]}
    assert list(as_csv([formula]))[1].split(",")[5] == "'=cmd()"


def test_unknown_hosts_and_other_origins_are_refused(client: httpx.Client) -> None:
    def code(method: str, path: str, **headers: str) -> int:
        files = {"picture": ("a.png", GOOD)} if method == "POST" else None
        return client.request(method, path, headers=headers, files=files).status_code

    own = str(client.base_url).rstrip("/")
    assert code("GET", "/", host="evil.example") == code("GET", "/parts", host="evil.example:8000") == 421
    assert code("GET", "/", host="localhost:1") == code("GET", "/", host="[::1]:8000") == 200
    assert code("POST", "/inspect", origin="http://evil.example") == code("POST", "/inspect", origin="null") == 403
    assert code("POST", "/inspect", **{"sec-fetch-site": "cross-site"}) == 403
    assert code("POST", "/inspect", origin=own) == code("POST", "/inspect") == 200


def test_browsers_are_kept_strict(client: httpx.Client) -> None:
    for path in ("/", "/static/page.js", "/parts", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    for page in ("/", "/login"):
        text = client.get(page).text
        assert "style=" not in text and "onclick" not in text and "<script>" not in text


def test_a_token_is_needed_where_there_is_one(data_path: Path, tmp_path: Path) -> None:
    given = settings(data_path, tmp_path, classes=[NAME], token=TOKEN)
    with served(given) as address, httpx.Client(base_url=address, timeout=60) as client:
        files = {"picture": ("a.png", GOOD)}
        for path in ("/parts", "/parts.csv", "/events", "/health", "/statistics", "/openapi.json", "/static/page.js"):
            assert client.get(path).status_code == 401, path
        assert client.post("/inspect", files=files).status_code == 401
        assert client.get("/parts", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/parts", headers={"cookie": f"station={TOKEN}"}).status_code == 401
        assert client.post("/inspect", files=files, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/").headers["location"] == "/login" and "password" in client.get("/login").text
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        entered = client.post("/login", data={"token": TOKEN})
        assert entered.status_code == 303 and TOKEN not in entered.headers["set-cookie"]
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert "samesite=strict" in entered.headers["set-cookie"].lower()
        assert client.get("/parts").status_code == 200  # the client has kept the cookie


def test_wrong_tokens_use_up_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(security.time, "monotonic", lambda: now[0])
    rate = Rate(10.0)
    assert [rate.allows("a", 1.0) for _ in range(21)] == [True] * 20 + [False]
    assert rate.allows("b", 1.0)
    now[0] = 0.5
    assert [rate.allows("a", 1.0) for _ in range(6)] == [True] * 5 + [False]
    now[0] = 100
    assert rate.allows("a", 5.0) and rate.allows("a", 5.0) and rate.allows("a", 5.0) and rate.allows("a", 5.0)
    assert not rate.allows("a", 1.0)
    for i in range(20_000):
        rate.allows(f"{i}", 1.0)
    assert len(rate._buckets) <= 10_000


def test_too_many_requests_are_answered_429(data_path: Path, tmp_path: Path) -> None:
    with served(settings(data_path, tmp_path, classes=[NAME], rate=0.2)) as address, httpx.Client() as client:
        codes = [client.get(f"{address}/health").status_code for _ in range(40)]
    assert codes[0] == 200 and 429 in codes


def test_pictures_of_every_format_that_is_read_are_let_in() -> None:
    image = np.full((40, 50, 3), 200, np.uint8)
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".bmp", "BMP"), (".tiff", "TIFF")):
        upload = check_upload(f"a{suffix}", cv2.imencode(suffix, image)[1].tobytes(), Limits())
        assert (upload.format, upload.width, upload.height) == (kind, 50, 40)
    with pytest.raises(RefusedError, match="64 megapixels"):
        check_upload("a.png", png_header(9000, 9000), Limits())
