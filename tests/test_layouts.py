"""Data sets of other projects, in small: RAD with its test pictures elsewhere, PIAD with COLMAP's model and JPEG."""

import json
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_class import CAMERA_ANGLE_X, NAME
from scipy.spatial.transform import Rotation

from PAD_utils.data.mad import ClassData, Source, load_class
from PAD_utils.errors import UserError

FOCAL = 16 / np.tan(CAMERA_ANGLE_X / 2)


@pytest.fixture
def expected(fake_mad: Path) -> ClassData:
    return load_class(fake_mad, NAME)


def assert_alike(data: ClassData, expected: ClassData, atol: float) -> None:
    assert len(data.gallery) == len(expected.gallery)
    for got, want in zip(data.gallery, expected.gallery, strict=True):
        torch.testing.assert_close(got.camera.cam_from_world, want.camera.cam_from_world, atol=atol, rtol=0)
        assert got.camera.fx == pytest.approx(want.camera.fx) and got.camera.cx == pytest.approx(want.camera.cx)


def as_rad(archive: Path, prepared: Path) -> None:
    """The class as RAD's harness has it: test pictures and masks in its archive, training views in a prepared folder of
    links to the archive."""
    (prepared / NAME / "train").mkdir(parents=True)
    content = json.loads((archive / NAME / "transforms.json").read_text())
    content["camera_angle_y"] = content["camera_angle_x"]  # as its converter writes
    for i, frame in enumerate(content["frames"]):
        picture = archive / NAME / f"{frame['file_path']}.png"
        (prepared / NAME / f"train/train_{i:03}.png").symlink_to(picture)
        frame["file_path"] = f"./train/train_{i:03}.png"
    (prepared / NAME / "transforms_train.json").write_text(json.dumps(content))
    (archive / NAME / "transforms_test.json").unlink()
    for mask in list(archive.glob("*/ground_truth/*/*.png")):
        mask.rename(mask.with_name(mask.name.replace("_mask", "")))


def test_rad_trains_on_prepared_views_and_is_judged_on_the_archive(fake_mad: Path, expected: ClassData) -> None:
    archive, prepared = fake_mad, fake_mad.parent / "prepared"
    as_rad(archive, prepared)
    data = load_class(prepared, NAME, source=Source(test_path=archive))
    assert_alike(data, expected, 0)
    assert [sample.key for sample in data.test] == [sample.key for sample in expected.test]
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(data.test, expected.test, strict=True) if a.label)
    with pytest.raises(UserError, match="nowhere.*does not exist"):
        load_class(prepared, NAME, source=Source(test_path=archive / "nowhere"))


def as_piad(root: Path) -> list[tuple[str, list[float]]]:
    """The class as PIAD hands it out, still without sparse/: the pictures' names and (w, x, y, z, translation)."""
    frames = json.loads((root / "transforms.json").read_text())["frames"]
    (root / "transforms.json").unlink()
    (root / "transforms_test.json").unlink()
    (root / "train/good").rename(root / "images")
    images = []
    for i, frame in enumerate(frames):
        picture = root / f"images/{i}.png"
        cv2.imwrite(str(picture.with_suffix(".jpg")), cv2.imread(str(picture)), [cv2.IMWRITE_JPEG_QUALITY, 95])
        picture.unlink()
        pose = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        x, y, z, w = Rotation.from_matrix(pose[:3, :3].T).as_quat()
        images.append((f"{i}.jpg", [w, x, y, z, *(-pose[:3, :3].T @ pose[:3, 3])]))
    shutil.move(root / "test/good", root / "test/good_side")
    for mask in list(root.glob("ground_truth/*/*.png")):
        mask.rename(mask.with_name(mask.name.replace("_mask", "")))
    return images


def write_text_model(folder: Path, images: list[tuple[str, list[float]]]) -> None:
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"# cameras\n1 PINHOLE 32 32 {FOCAL} {FOCAL} 16 16\n")
    lines = [
        f"{i + 1} {' '.join(map(str, pose))} 1 {name}\n{'1.5 2.5 -1' * (i % 2)}"
        for i, (name, pose) in enumerate(images)
    ]
    (folder / "images.txt").write_text("# images\n# two lines each\n" + "\n".join(lines) + "\n")


def write_binary_model(folder: Path, images: list[tuple[str, list[float]]]) -> None:
    folder.mkdir(parents=True)
    camera = struct.pack("<QiiQQ3d", 1, 7, 0, 32, 32, FOCAL, 16, 16)
    (folder / "cameras.bin").write_bytes(camera)
    content = struct.pack("<Q", len(images))
    for i, (name, pose) in enumerate(images):
        points = struct.pack("<ddq", 1.5, 2.5, -1) * (i % 3)
        content += struct.pack("<i7di", i + 1, *pose, 7) + name.encode() + b"\0" + struct.pack("<Q", i % 3) + points
    (folder / "images.bin").write_bytes(content)


@pytest.mark.parametrize("write", [write_text_model, write_binary_model])
@pytest.mark.parametrize("place", ["sparse/0", "sparse"])
def test_piad_is_read_from_its_colmap_model(fake_mad: Path, expected: ClassData, write, place: str) -> None:  # type: ignore[no-untyped-def]
    root = fake_mad / NAME
    write(root / place, as_piad(root))
    data = load_class(fake_mad, NAME)
    assert data.kind == "colmap"
    assert_alike(data, expected, 1e-6)
    assert sum(sample.label for sample in data.test) == 9 and len(data.test) == 12
    assert all((sample.mask is None) == (sample.label == 0) for sample in data.test)


def test_a_colmap_model_that_is_cut_short_is_named(fake_mad: Path) -> None:
    root = fake_mad / NAME
    write_binary_model(root / "sparse/0", as_piad(root))
    path = root / "sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="sparse/0 is no whole COLMAP model"):
        load_class(fake_mad, NAME)
    (root / "sparse/0/cameras.bin").unlink()
    with pytest.raises(UserError, match="cameras.bin cannot be read"):
        load_class(fake_mad, NAME)
