import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import gaussian_splatting
from gaussian_splatting.camera import Camera
from gaussian_splatting.camera_file import read_cameras
from gaussian_splatting.ply import save_ply
from gaussian_splatting.render_command import main
from gaussian_splatting.rendering import render
from gaussian_splatting.turntable import around_model, around_views
from tests.toy_scene import ball, cameras

SIZE = 32


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and the transforms file of three cameras around it."""
    save_ply(tmp_path / "model.ply", ball(300))
    frames = [
        {"file_path": name, "transform_matrix": camera.to_blender().tolist()}
        for name, camera in zip(("./train/good/0", "train/1.png", "../2.jpg"), cameras(3, SIZE), strict=True)
    ]
    content = {"camera_angle_x": math.radians(36), "w": SIZE, "h": SIZE, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    return tmp_path / "model.ply", tmp_path / "transforms.json"


def test_pictures_alpha_and_depth_are_those_of_render(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, transforms = files
    out = tmp_path / "out"
    assert main([str(model), "--transforms", str(transforms), "--out", str(out)]) == 0
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*"))
    names = ("2", "train/1", "train/good/0")
    assert made == sorted(
        [f"{kind}/{n}.png" for kind in ("alpha", "color") for n in names] + [f"depth/{n}.tiff" for n in names]
    )
    drawn = render(ball(300), [cameras(3, SIZE)[1]])
    color, alpha, depth = (
        np.asarray(Image.open(out / p)) for p in ("color/train/1.png", "alpha/train/1.png", "depth/train/1.tiff")
    )
    expected = (255 * drawn.image[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(color.astype(int) - expected).max() <= 1
    assert np.abs(alpha / 255 - drawn.alpha[0].numpy()).max() <= 0.5 / 255 + 1e-4
    middle = depth[SIZE // 2, SIZE // 2]
    assert 2.4 < middle < 2.8  # the camera is 3 away from the center of a ball of radius 0.5
    assert depth[0, 0] == 0 and depth.dtype == np.float32


def test_a_size_scales_the_lens(files: tuple[Path, Path]) -> None:
    whole, half = (read_cameras(files[1], size)["train/1"] for size in (None, (16, 16)))
    assert (half.width, half.fx, half.cx) == (16, pytest.approx(whole.fx / 2), 8)
    torch.testing.assert_close(whole.cam_from_world, cameras(3, SIZE)[1].cam_from_world)


def test_a_turntable_is_a_gif_and_a_film(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, transforms = files
    assert main([str(model), "--transforms", str(transforms), "--out", str(tmp_path / "o"), "--turntable"]) == 0
    with Image.open(tmp_path / "o/turntable.gif") as gif:
        assert gif.n_frames == 36 and gif.size == (SIZE, SIZE) and gif.info["loop"] == 0
    film = cv2.VideoCapture(str(tmp_path / "o/turntable.mp4"))
    read = [film.read()[1] for _ in range(int(film.get(cv2.CAP_PROP_FRAME_COUNT)))]
    assert len(read) == 72 and read[0].shape == (SIZE, SIZE, 3)
    assert int(np.abs(read[0].astype(int) - read[36]).max()) > 60  # the other side has other colors


def test_a_turntable_without_cameras_sees_all_of_the_object() -> None:
    model = ball(300)
    for camera in around_model(model, 4, (80, 60)):
        alpha = render(model, [camera]).alpha[0]
        border = torch.cat((alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        assert float(alpha[30, 40]) > 0.8 and float(border.max()) < 0.05


def test_the_turntable_stands_upright_where_the_cameras_do() -> None:
    tilt = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    tilt = tilt * torch.linalg.det(tilt).sign()
    views = []
    for camera in cameras(12, SIZE):
        pose = camera.to_blender()
        pose[:3] = tilt @ pose[:3]
        views.append(camera.at_blender(pose))
    up = tilt[:, 2]
    for camera in around_views(views, 5):
        assert float(-camera.cam_from_world[1, :3] @ up) == pytest.approx(math.cos(math.radians(20)), abs=0.02)
        assert float(camera.center.norm()) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"w": None}, "--size"),
        ({"camera_angle_x": None}, "camera_angle_x"),
        ({"frames": []}, "no frame"),
        ({"frames": [{"file_path": "a"}]}, "transform_matrix"),
        ({"frames": [{"file_path": "a", "transform_matrix": [[1, 2], [3, 4]]}]}, "(2, 2)"),
        ({"frames": [{"file_path": "a", "transform_matrix": np.ones((4, 4)).tolist()}]}, "orthonormal"),
        ({"frames": [{"file_path": "..", "transform_matrix": np.eye(4).tolist()}]}, "names no picture"),
        ({"frames": [{"file_path": x, "transform_matrix": np.eye(4).tolist()} for x in ("a", "a.png")]}, "another one"),
        ({"camera_model": "OPENCV_FISHEYE"}, "fisheye"),
        ({"w": 0}, "above 0"),
    ],
)
def test_a_wrong_transforms_file_is_named_in_one_line(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, words: str
) -> None:
    content = json.loads(files[1].read_text()) | change
    files[1].write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    assert main([str(files[0]), "--transforms", str(files[1]), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and str(files[1]) in said and said.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_distortion_is_named(files: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    content = json.loads(files[1].read_text()) | {"k1": 0.1}
    files[1].write_text(json.dumps(content))
    assert isinstance(read_cameras(files[1])["2"], Camera)
    assert "without the lens' distortion (k1)" in caplog.text


def test_nothing_to_render_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["model.ply", "--out", "o"])
    assert end.value.code == 2 and "--turntable" in capsys.readouterr().err


def test_the_command_does_not_take_the_place_of_the_function() -> None:
    with pytest.raises(ImportError, match="python -m gaussian_splatting.render"):
        importlib.import_module("gaussian_splatting.render")
    assert gaussian_splatting.render is render
    command = [sys.executable, "-m", "gaussian_splatting.render", "none.ply", "--out", "o", "--turntable"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stderr.startswith("error: none.ply")
