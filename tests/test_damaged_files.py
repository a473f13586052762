"""Files that are damaged, hostile, or no files at all; what benchmarks/faults found is kept here as single cases."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from plyfile import PlyData

from gaussian_splatting.images import read_image
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.ply_table import read_tables
from gaussian_splatting.pose.adam import AdamRefiner
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.tensor_files import load_torch
from gaussian_splatting.training.checkpoint import load_checkpoint
from PAD_utils.data.download import unpack
from PAD_utils.data.intrinsics import read_lens
from PAD_utils.data.transforms import read_transforms
from PAD_utils.errors import UserError
from PAD_utils.evaluate.maps import read_map, read_table
from PAD_utils.files import read_checked_json, read_json, write_checked_json
from PAD_utils.run.ledger import fingerprint_file
from tests.toy_scene import ball, views


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "not valid JSON"),
        ('{"frames": 1, "frames": 2}', "'frames' is given twice"),
        ('{"a": {"w": 1, "h": 2, "w": 3}}', "'w' is given twice"),
        ('{"a": "\udcff"}', "not valid JSON"),
    ],
)
def test_json_that_has_no_one_meaning_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "transforms.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"transforms\.json.*{said}"):
        read_json(path)


@pytest.mark.parametrize("read", [read_json, read_map, read_table, read_lens, fingerprint_file, load_ply, load_torch])
@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, read: Callable[[Path], object], kind: str) -> None:
    path = tmp_path / "given"
    {"pipe": os.mkfifo, "endless": lambda p: p.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](path)
    with pytest.raises((UserError, ValueError), match="no such file|no file"):
        read(path)


FRAME = {"file_path": "train/0", "transform_matrix": np.eye(4).tolist()}


@pytest.mark.parametrize(
    "frame",
    [
        {**FRAME, "file_path": 7},
        {**FRAME, "file_path": [["train/0"]]},
        {**FRAME, "transform_matrix": [[10**400] * 4] * 4},
        {**FRAME, "transform_matrix": [[10**25] * 4] * 4},
        {**FRAME, "transform_matrix": None},
    ],
)
def test_a_frame_of_other_types_is_refused(tmp_path: Path, frame: dict) -> None:
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": 0.7, "frames": [frame]}))
    with pytest.raises(UserError, match=r"transforms\.json"):
        read_transforms(path)


@pytest.mark.parametrize("value", [True, 10**400, "wide"])
def test_a_lens_of_other_types_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": value, "frames": [FRAME]}))
    with pytest.raises(UserError, match="camera_angle_x is"):
        read_transforms(path)


def test_a_png_that_claims_a_chunk_of_4_gb_is_refused_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[33:37] = b"\xff" * 4
    path.write_bytes(content)
    before = _most_memory()
    with pytest.raises(ValueError, match="not a complete picture"):
        read_image(path)
    assert _most_memory() - before < 200 << 20


def _most_memory() -> int:
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def test_a_flipped_bit_in_tensors_is_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"run": "this", "state": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(500).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="check sum"):
        load_torch(path)
    assert load_checkpoint(path, "this", torch.device("cpu")) is None
    assert "checkpoint.pt is damaged" in caplog.text


def test_checked_json_tells_any_change(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_checked_json(path, {"train": {"psnr": 31.25, "held_out": ["3"]}})
    assert read_checked_json(path) == {"train": {"psnr": 31.25, "held_out": ["3"]}}
    path.write_text(path.read_text().replace("31.25", "37.25"))
    with pytest.raises(UserError, match="state.json was changed"):
        read_checked_json(path)


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "MAD-Sim.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("01Gorilla/zeros", bytes(5_000_000))
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Free())
    with pytest.raises(UserError, match="unpacks to 5 MB and 4 MB are free"):
        unpack(archive, tmp_path / "into")
    assert not (tmp_path / "into").exists()


class _Free:
    free = 4_000_000


@pytest.mark.parametrize(("name", "value"), [("x", 1e30), ("scale_1", 80.0), ("y", -3e38)])
def test_a_model_with_impossible_numbers_is_refused(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "point_cloud.ply"
    save_ply(path, ball(5))
    ply = PlyData.read(str(path), mmap=False)
    ply["vertex"].data[name][2] = value
    ply.write(str(path))
    with pytest.raises(ValueError, match="it is damaged"):
        load_ply(path)


@pytest.mark.parametrize("refiner", [AdamRefiner(2), GaussNewtonRefiner()])
def test_a_pose_is_never_nan(refiner: AdamRefiner | GaussNewtonRefiner) -> None:
    model, view = ball(), views(count=1)[0]
    model.means[0] = 3e38  # as nothing that load_ply returns
    found = refiner.refine(model, view.image[None], [[view.camera]])[0]
    assert bool(found.camera.cam_from_world.isfinite().all()) and not found.converged


def test_a_model_that_is_cut_while_it_is_read_does_not_kill_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "point_cloud.ply"
    save_ply(path, ball(2000))

    def read_and_cut(path: Path) -> dict[str, np.ndarray]:
        content = read_tables(path)
        os.truncate(path, 0)
        return content

    monkeypatch.setattr("gaussian_splatting.ply.read_tables", read_and_cut)
    assert len(load_ply(path)) == 2000
