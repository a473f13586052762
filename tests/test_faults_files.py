"""Files that are replaced while they are read or after, a clock that is set back, a network that fails."""

import http.server
import json
import os
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussian_splatting.ply import save_ply
from PAD_utils import inspector_files
from PAD_utils.data import download, picture_cache
from PAD_utils.data.framing import query_framing
from PAD_utils.data.intrinsics import Lens, read_lens
from PAD_utils.data.layout import list_class
from PAD_utils.data.prepare import copy_file, write_rgba
from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import open_job, run_script
from PAD_utils.score import features_torchvision
from PAD_utils.score.pyramid import WeightsUnavailable
from PAD_utils.score.usual import Usual
from tests.fake_class import NAME
from tests.toy_scene import ball


def write_picture(path: Path, width: int, value: int = 100) -> None:
    Image.fromarray(np.full((16, width, 3), value, np.uint8)).save(path)


def test_a_photograph_that_is_replaced_by_one_of_another_size_while_it_is_read_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    write_picture(path, 16)
    framing, _ = query_framing(path, None, Lens(16, 16, 20.0, 20.0, 8.0, 8.0), None, None)
    write_picture(path, 24)
    with pytest.raises(UserError, match=r"0\.png was replaced while it was read"):
        framing.read(path)


@pytest.mark.parametrize("prepare", [copy_file, write_rgba])
def test_what_is_replaced_by_an_older_file_is_prepared_again(tmp_path: Path, prepare) -> None:
    source, target = tmp_path / "source.png", tmp_path / "target.png"
    write_picture(source, 16, 100)
    prepare(source, target)
    first = target.read_bytes()
    prepare(source, target)
    assert target.read_bytes() == first
    write_picture(source, 16, 200)
    os.utime(source, (1e9, 1e9))  # as from a backup, or after the clock was set back
    prepare(source, target)
    assert target.read_bytes() != first


def test_a_picture_of_the_same_size_and_date_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_cache, "WORTH_KEEPING", 0)
    path = tmp_path / "0.ppm"

    def load() -> int:
        def decode(path: Path) -> torch.Tensor:
            return torch.from_numpy(np.array(Image.open(path)))

        found = picture_cache.load_pictures([path], (16, 16), decode)
        picture_cache.wait_until_kept()
        return int(found[0][0, 0, 0])

    for value in (100, 200):
        write_picture(path, 16, value)
        os.utime(path, (1e9, 1e9))
        assert [load(), load()] == [value, value]
        time.sleep(0.02)  # the system's clock of files ticks every 4 ms or so


def test_an_inspector_that_is_saved_anew_while_it_is_read_is_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Usual(None, None, None, [], [], None)
    inspector_files.write_inspector(tmp_path, inspector_files.Saved(ball(20), None, usual, None, {}, {}))

    def meanwhile(*given: object) -> object:
        save_ply(tmp_path / "point_cloud.ply", ball(30))
        return load_torch(*given)

    load_torch = inspector_files.load_torch
    monkeypatch.setattr(inspector_files, "load_torch", meanwhile)
    with pytest.raises(UserError, match=r"point_cloud\.ply was changed since"):
        inspector_files.read_inspector(tmp_path, torch.device("cpu"))


def test_a_clock_that_is_set_back_makes_no_negative_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = open_job(RunConfig(output=tmp_path, device="cpu"))
    monkeypatch.setattr(time, "time", lambda: job.started - 3600)
    assert 0 <= job.seconds < 60


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_download_from_a_line_that_is_silent_ends(
    tmp_path: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://{silent}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "_SILENCE_S", 0.2)
    began = time.monotonic()
    with pytest.raises(UserError, match="drive.google.com.*could not be fetched"):
        download.fetch_mad_sim(tmp_path, ("01Gorilla",))
    assert time.monotonic() - began < 10 and not list(tmp_path.iterdir())


class _Cut(http.server.BaseHTTPRequestHandler):
    """Breaks off in the middle of what it sends."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"ff\r\nthe beginning")
        self.close_connection = True

    def log_message(self, *_: object) -> None: ...


def test_weights_that_break_off_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Cut)
    threading.Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetch = features_torchvision._download
    url = f"http://127.0.0.1:{server.server_port}/squeezenet-12345678.pth"
    monkeypatch.setattr(features_torchvision, "_download", lambda _, place: fetch(url, place))
    with pytest.raises(WeightsUnavailable, match="cannot be downloaded"):
        features_torchvision._downloaded_state_dict("squeezenet1_1")
    server.server_close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("key", "value"), [("w", 1e308), ("w", 1e-320), ("fl_x", 1e-320), ("k1", 1e308), ("cx", -1e20)]
)
def test_a_lens_that_no_camera_has_is_refused(tmp_path: Path, key: str, value: float) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"camera_angle_x": 0.7, key: value}))
    with pytest.raises(UserError, match=rf"camera\.json: {key} is .*; mend it"):
        read_lens(path)


def test_a_value_of_thousands_of_letters_is_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise UserError(f"camera.json: w is {'a' * 5000}\n, not a number; mend it")

    assert run_script(work) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: camera.json: w is aaa") and line.endswith("mend it") and len(line) < 1100


def test_a_pose_of_no_test_picture_is_named(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    (fake_mad / NAME / "test" / "good" / "0.png").unlink()
    list_class(fake_mad, NAME)
    assert "transforms_test.json names 1 of" in caplog.text and "test/good/0); they are not used" in caplog.text


def test_an_archive_with_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "MAD-Sim.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "x")
    content = bytearray(path.read_bytes())
    content[30] = content[content.index(b"PK\x01\x02") + 46] = 0  # the name, where it stands first and in the directory
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"MAD-Sim\.zip is not a whole zip file"):
        download.unpack(path, tmp_path / "out")
