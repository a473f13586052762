"""From photographs to a class, on tiny files and made-up cameras; structure from motion itself is in test_sfm.py."""

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare_photos
from PAD_utils.data.transforms import read_transforms
from PAD_utils.errors import UserError
from PAD_utils.photos.backdrop import measure_backdrop
from PAD_utils.photos.coverage import GAP_DEG, Facts, covered_share, find_gaps, measured, sphere_picture, suggestions
from PAD_utils.photos.lens import Lens
from PAD_utils.photos.source import copy_photos, find_photos, read_color
from PAD_utils.photos.world import DISTANCE, camera_centers, looked_at, normalizing, up_axis

pycolmap = pytest.importorskip("pycolmap")


def ring(elevation_deg: float, count: int = 12, distance: float = 3.0) -> list[np.ndarray]:
    """cam_from_world, OpenCV axes, of upright cameras that look at the origin."""
    poses = []
    for azimuth in 2 * math.pi * np.arange(count) / count:
        e = math.radians(elevation_deg)
        back = np.array([math.cos(e) * math.cos(azimuth), math.cos(e) * math.sin(azimuth), math.sin(e)])
        right = np.array([-math.sin(azimuth), math.cos(azimuth), 0])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, -np.cross(back, right), -back])
        pose[2, 3] = distance
        poses.append(pose)
    return poses


def moved(poses: list[np.ndarray], scale: float, seed: int = 3) -> list[np.ndarray]:
    """The same cameras in a world that is turned, scaled and far away."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    result = []
    for pose in poses:
        new = np.eye(4)
        new[:3, :3] = pose[:3, :3] @ rotation
        new[:3, 3] = scale * pose[:3, 3] - new[:3, :3] @ np.array([1000.0, -20.0, 3.0])
        result.append(new)
    return result


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_world_is_centered_scaled_and_upright(scale: float) -> None:
    poses = moved(ring(10) + ring(45), scale)
    world = normalizing(poses)
    new = [world.pose(pose) for pose in poses]
    centers = camera_centers(new)
    assert np.linalg.norm(centers, axis=1) == pytest.approx(DISTANCE, rel=1e-6)
    assert looked_at(new) == pytest.approx(0, abs=1e-5)
    assert centers[:12, 2] == pytest.approx(DISTANCE * math.sin(math.radians(10)), abs=1e-5)
    assert centers[12:, 2] == pytest.approx(DISTANCE * math.sin(math.radians(45)), abs=1e-5)
    assert world.points(camera_centers(poses)) == pytest.approx(centers, abs=1e-6)


def test_up_is_the_axis_of_a_ring_photographed_on_its_side() -> None:
    quarter = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    up = up_axis([quarter @ pose for pose in ring(10)])
    assert abs(up[2]) == pytest.approx(1, abs=1e-9)


def test_one_camera_that_looks_away_does_not_move_the_middle() -> None:
    poses = ring(20, 20)
    away = poses[0].copy()
    away[0, 3] = 1.5  # looks 1.5 units past it
    assert np.linalg.norm(looked_at([*poses, away])) < 0.03


def made_camera(model: str, params: list[float]) -> "pycolmap.Camera":
    return pycolmap.Camera(model=model, width=160, height=120, params=params)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("SIMPLE_RADIAL", [150, 83, 57, -0.2]),
        ("SIMPLE_RADIAL", [150, 78, 61, 0.15]),
        ("OPENCV", [150, 155, 80, 60, -0.1, 0.02, 0.002, -0.001]),
    ],
)
def test_undistortion_puts_points_where_a_pinhole_sees_them(model: str, params: list[float]) -> None:
    camera = made_camera(model, params)
    lens = Lens(camera)
    pinhole = lens.pinhole
    for ray in ([0.1, -0.12, 1.0], [-0.3, 0.2, 1.0], [0.0, 0.0, 1.0]):
        u, v = np.asarray(camera.img_from_cam(np.array([ray])))[0]
        y, x = np.mgrid[:120, :160] + 0.5
        picture = np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8)  # a soft dot where the lens shows the ray
        seen = lens.undistorted(np.round(255 * np.repeat(picture[..., None], 3, 2)).astype(np.uint8))[..., 0].astype(
            float
        )
        found = ((seen * x).sum() / seen.sum(), (seen * y).sum() / seen.sum())
        expected = (pinhole.fx * ray[0] + pinhole.cx, pinhole.fy * ray[1] + pinhole.cy)
        assert found == pytest.approx(expected, abs=0.05)  # half a pixel would be the usual mistake


def test_an_undistorted_picture_shows_nothing_from_outside() -> None:
    for k in (-0.3, 0.2):
        lens = Lens(made_camera("SIMPLE_RADIAL", [150, 80, 60, k]))
        white = lens.undistorted(np.full((120, 160, 3), 255, np.uint8))
        maps = lens._maps
        assert white.min() == 255
        assert maps[0].min() >= -0.5 and maps[0].max() <= 159.5 and maps[1].min() >= -0.5 and maps[1].max() <= 119.5


def test_a_lens_without_distortion_leaves_pictures_alone() -> None:
    lens = Lens(made_camera("SIMPLE_PINHOLE", [150, 70, 60]))
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    assert lens.undistorted(picture) is picture and lens.pinhole.fx == 150


def test_photographs_are_found_copied_and_shrunk(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    for name in ("b10.jpg", "b9.png"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("no picture")
    paths = find_photos(tmp_path)
    assert [path.name for path in paths] == ["b9.png", "b10.jpg"]
    photos = copy_photos(paths, tmp_path / "work", longest_px=30)
    assert [(p.width, p.height, p.key) for p in photos] == [(30, 20, "30x20/b9.png"), (30, 20, "30x20/b10.png")]
    assert photos[0].pixels().shape == (20, 30, 3) and not photos[0].has_alpha


def test_sixteen_bits_and_gray_become_eight_bits_of_color(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 5), 65535, np.uint16))
    assert read_color(tmp_path / "deep.png").shape == (4, 5, 3)
    assert read_color(tmp_path / "deep.png").max() == 255


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"a\.jpg.*a\.png.*rename"):
        find_photos(tmp_path)


def test_the_focal_length_comes_from_exif(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (360, 240))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    picture.save(tmp_path / "phone.jpg", exif=exif)
    assert copy_photos([tmp_path / "phone.jpg"], tmp_path / "work", 180)[0].focal_px == pytest.approx(28 * 180 / 36)


def facts_of(elevations: list[float], skip: range = range(0)) -> list[Facts]:
    directions = [-pose[2, :3] for e in elevations for i, pose in enumerate(ring(e, 36)) if i not in skip]
    return [Facts(f"p{i}", direction, 10.0, 100.0, 0.3) for i, direction in enumerate(directions)]


def test_a_gap_in_a_ring_is_found_between_its_neighbors() -> None:
    facts = facts_of([10, 40], range(9, 18))  # none from azimuth 90 to 170 degrees
    gaps = find_gaps(facts)
    assert gaps[0].azimuth_deg == pytest.approx(130, abs=12)
    assert set(gaps[0].neighbors) <= {"p7", "p8", "p9", "p34", "p35", "p36", "p53"}
    assert find_gaps(facts_of([0, 30, 55])) == []
    assert any(gaps[0].neighbors[0] in line for line in suggestions(facts, [], gaps))


def test_coverage_grows_with_rings_and_its_picture_shows_them() -> None:
    one, two = facts_of([0]), facts_of([0, 45])
    shares = [covered_share(np.stack([f.direction for f in facts])) for facts in (one, two)]
    assert shares[0] == pytest.approx(math.sin(math.radians(GAP_DEG)), abs=0.02) and shares[1] > shares[0] + 0.2
    assert sphere_picture(one, find_gaps(one)).shape == (540, 1080, 3)


def test_what_is_wrong_is_said_in_words() -> None:
    facts = [*facts_of([0])[:18], Facts("soft", np.array([0, -1.0, 0]), 1.0, 200.0, 3.0)]
    text = " ".join(suggestions(facts, ["lost1"], []))
    for word in ("lost1", "one ring", "soft", "too few"):
        assert word in text
    assert suggestions(facts_of([0, 30]), [], []) == []


def test_sharpness_tells_a_blurred_photograph() -> None:
    sharp = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    up = np.array([0, 0, 1.0])
    assert measured("b", up, cv2.blur(sharp, (5, 5)), 0.0).sharpness < 0.3 * measured("a", up, sharp, 0.0).sharpness


@pytest.mark.parametrize("color", [(12, 10, 8), (240, 240, 238), (90, 140, 60)])
def test_a_plain_backdrop_is_measured_in_any_color(color: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for gain in (0.95, 1.0, 1.05):
        picture = np.clip(np.array(color) * gain + rng.normal(0, 3, (60, 80, 3)), 0, 255).astype(np.uint8)
        picture[15:50, 20:60] = rng.integers(0, 256, (35, 40, 3))
        pictures.append(picture)
    found = measure_backdrop(pictures)
    assert found.is_plain and np.abs(np.array(found.color[::-1]) - color).max() <= 2


def test_a_room_is_no_plain_backdrop() -> None:
    rng = np.random.default_rng(0)
    assert not measure_backdrop([rng.integers(0, 256, (60, 80, 3)).astype(np.uint8) for _ in range(3)]).is_plain


def text_model(folder: Path, names: list[str], camera: str, poses: list[np.ndarray]) -> None:
    """A COLMAP model in text, as other programs write it, without points."""
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"{camera}\n")
    lines = []
    for number, (name, pose) in enumerate(zip(names, poses, strict=True), start=1):
        quaternion = pycolmap.Rotation3d(pose[:3, :3]).quat  # x, y, z, w
        values = [*np.roll(quaternion, 1), *pose[:3, 3]]
        lines += [f"{number} {' '.join(map(repr, map(float, values)))} 1 {name}", ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    (folder / "points3D.txt").write_text("")


@pytest.fixture
def colmap_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    names = [f"shot{i}.png" for i in range(8)]
    for name in [*names, "shot9.png"]:
        cv2.imwrite(str(tmp_path / "photos" / name), rng.integers(0, 256, (60, 80, 3)).astype(np.uint8))
    camera = "1 SIMPLE_RADIAL 160 120 150 80 60 -0.05"
    text_model(tmp_path / "model" / "sparse" / "0", names, camera, moved(ring(15, len(names)), 0.1))
    return tmp_path


def prepare(folder: Path, *more: str) -> int:
    where = [str(folder / "photos"), "--out", str(folder / "data"), "-c", "01Part"]
    return prepare_photos.main([*where, "--colmap", str(folder / "model"), *more])


def test_a_colmap_model_becomes_a_class_that_the_reader_reads(colmap_folder: Path) -> None:
    before = {p: p.read_bytes() for p in (colmap_folder / "photos").iterdir()}
    assert prepare(colmap_folder) == 0
    root = colmap_folder / "data" / "01Part"
    frames = read_transforms(root / "transforms.json")
    assert list(frames) == [f"train/good/shot{i}.png" for i in range(8)]
    content = json.loads((root / "transforms.json").read_text())
    assert content["camera_angle_x"] == pytest.approx(2 * math.atan(40 / content["fl_x"])) and content["w"] == 80
    assert content["cx"] == pytest.approx(40) and content["cy"] == pytest.approx(30)
    centers = np.stack([frame.world_from_camera[:3, 3].numpy() for frame in frames.values()])
    assert np.linalg.norm(centers, axis=1) == pytest.approx(DISTANCE, rel=1e-5)
    assert centers[:, 2] == pytest.approx(DISTANCE * math.sin(math.radians(15)), abs=1e-4)
    looking = np.stack(
        [-frame.world_from_camera[:3, 2].numpy() for frame in frames.values()]
    )  # Blender cameras look along -z
    assert looking == pytest.approx(-centers / DISTANCE, abs=1e-5)
    assert {p: p.read_bytes() for p in (colmap_folder / "photos").iterdir()} == before
    record = json.loads((root / "photos.json").read_text())
    assert record["lost"] == ["shot9"] and len(record["registered"]) == 8
    assert "shot9" in (root / "photos.html").read_text() and (root / "photos_coverage.png").is_file()
    assert [p.name for p in (colmap_folder / "data").iterdir()] == ["01Part"]  # nothing is left lying about


def test_the_same_photographs_are_not_prepared_twice_and_others_are_refused(
    colmap_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(colmap_folder) == 0
    made = (colmap_folder / "data" / "01Part" / "transforms.json").stat().st_mtime_ns
    assert prepare(colmap_folder) == 0
    assert (colmap_folder / "data" / "01Part" / "transforms.json").stat().st_mtime_ns == made
    assert prepare(colmap_folder, "--size", "70") == 2
    assert "was made from other photographs or options" in capsys.readouterr().err


def test_a_folder_of_the_user_is_never_replaced(colmap_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = colmap_folder / "data" / "01Part" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert prepare(colmap_folder) == 2
    assert "is in the way" in capsys.readouterr().err and mine.read_text() == "mine"


def test_without_pycolmap_one_line_says_how_to_get_it(
    colmap_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    assert prepare(colmap_folder) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and "pip install 'pycolmap>=4.1.1'" in message


def test_a_model_of_other_pictures_is_refused(colmap_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, path in enumerate(sorted((colmap_folder / "photos").iterdir())):
        path.rename(path.with_name(f"other{number}.png"))
    assert prepare(colmap_folder) == 2
    assert "names none of the photographs" in capsys.readouterr().err
