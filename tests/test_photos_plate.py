"""The printed plate: drawn, photographed by a made-up camera, and solved."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from test_photos import ring

import prepare_photos
from PAD_utils.errors import UserError
from PAD_utils.photos.plate import SQUARES, solve_plate, write_page
from PAD_utils.photos.source import copy_photos

pycolmap = pytest.importorskip("pycolmap")
F, SIZE, K1 = 700.0, (640, 480), -0.08
MM_PER_DOT = 25.4 / 300


def photographed(page: np.ndarray, pose: np.ndarray, camera: "pycolmap.Camera") -> np.ndarray:
    """The page, lying at the origin with its middle, its y axis away from the reader, through a lens, twice as fine."""
    x, y = np.meshgrid((np.arange(2 * SIZE[0]) + 0.5) / 2, (np.arange(2 * SIZE[1]) + 0.5) / 2)
    rays = np.concatenate([camera.cam_from_img(np.stack([x.ravel(), y.ravel()], 1)), np.ones((x.size, 1))], 1)
    inverse = np.linalg.inv(pose)
    directions = rays @ inverse[:3, :3].T
    hits = inverse[:3, 3] - directions * (inverse[2, 3] / directions[:, 2:])
    u = (hits[:, 0] / MM_PER_DOT + page.shape[1] / 2 - 0.5).reshape(x.shape).astype(np.float32)
    v = (-hits[:, 1] / MM_PER_DOT + page.shape[0] / 2 - 0.5).reshape(x.shape).astype(np.float32)
    fine = cv2.remap(cv2.GaussianBlur(page, (0, 0), 4), u, v, cv2.INTER_LINEAR, borderValue=120)
    return cv2.resize(fine, SIZE, interpolation=cv2.INTER_AREA)


def test_poses_and_lens_come_from_photographs_of_the_plate(tmp_path: Path) -> None:
    write_page(tmp_path / "page.png")
    page = cv2.imread(str(tmp_path / "page.png"), cv2.IMREAD_GRAYSCALE)
    camera = pycolmap.Camera(model="OPENCV", width=640, height=480, params=[F, F, 327, 233, K1, 0, 0, 0])
    poses = ring(50, 4, 420.0) + ring(70, 4, 380.0)
    (tmp_path / "photos").mkdir()
    for number, pose in enumerate(poses):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), photographed(page, pose, camera))
    cv2.imwrite(str(tmp_path / "photos" / "9.png"), np.full((480, 640), 90, np.uint8))
    found = solve_plate(copy_photos(sorted((tmp_path / "photos").iterdir()), tmp_path / "work", 640))
    assert found.lost == ["9"] and len(found.posed) == 8
    params = found.posed[0].lens.camera.params
    assert params[0] == pytest.approx(F, rel=0.004) and params[2:4] == pytest.approx([327, 233], abs=1.5)
    assert found.error_px < 0.2
    # the world is the plate's: the same up, another origin (a corner of the board), in millimeters
    shift = found.posed[0].cam_from_world[:3, :3].T @ (poses[0][:3, 3] - found.posed[0].cam_from_world[:3, 3])
    for posed, pose in zip(found.posed, poses, strict=True):
        turn = posed.cam_from_world[:3, :3] @ pose[:3, :3].T
        assert math.degrees(math.acos(min(1.0, (np.trace(turn) - 1) / 2))) < 0.15
        assert posed.cam_from_world[:3, :3] @ shift + posed.cam_from_world[:3, 3] == pytest.approx(pose[:3, 3], abs=2.0)


def test_the_page_prints_at_its_true_size(tmp_path: Path) -> None:
    assert prepare_photos.main(["--plate_page", str(tmp_path / "plate.pdf")]) == 0
    assert b"/MediaBox [ 0 0 595.2 841.92 ]" in (tmp_path / "plate.pdf").read_bytes()  # A4 in points
    write_page(tmp_path / "plate.png")
    with Image.open(tmp_path / "plate.png") as picture:
        dpi = picture.info["dpi"][0]
        dark = np.flatnonzero((np.asarray(picture)[: picture.height - 400] < 128).any(0))
    assert np.ptp(dark) / dpi * 25.4 == pytest.approx(SQUARES[0] * 20.0, abs=0.2)


def test_without_a_plate_in_view_the_mend_is_named(tmp_path: Path) -> None:
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 80, 3), 128, np.uint8))
    with pytest.raises(UserError, match="0 of 6 photographs show 12 corners of the plate.*--plate_page"):
        solve_plate(copy_photos(sorted(tmp_path.iterdir()), tmp_path / "work", 640))


def test_the_command_line_says_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare_photos.main(["--out", "x"])
    assert "PHOTOS and -c NAME are needed" in capsys.readouterr().err
