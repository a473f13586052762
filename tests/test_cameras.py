"""Cameras as other programs write them, lenses that distort, pictures of several sizes, and the queries' cameras."""

import json
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from PAD_utils.data.intrinsics import Lens, LensSpec, query_lens, read_lens
from PAD_utils.data.mad import ClassData, Source, load_class
from PAD_utils.data.photographs import Photograph, QuerySetting, load_queries, read_in_turn
from PAD_utils.errors import UserError
from tests.fake_class import BOXES, NAME, look_at, ray_cast

FOCAL = 44.44444124775073  # of 32 pixels at the fake class' angle


def rewrite(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_views_show_what_their_cameras_see(data: ClassData) -> None:
    """A point of the object lands where its camera says: the projected corners of the boxes bound the silhouette."""
    corners = np.array(
        [
            [x, y, z]
            for box in BOXES
            for x, y, z in np.array(np.meshgrid(*zip(box.low, box.high, strict=True))).reshape(3, -1).T
        ]
    )
    for view in data.gallery:
        world = (corners - np.array(data.world.center)) * data.world.scale
        pose = view.camera.cam_from_world.numpy()
        x, y, z = pose[:3, :3] @ world.T + pose[:3, 3:]
        columns, rows = view.camera.fx * x / z + view.camera.cx, view.camera.fy * y / z + view.camera.cy
        there = np.argwhere(view.image.numpy().min(2) < 200)
        (top, left), (bottom, right) = there.min(0), there.max(0) + 1
        expected = np.clip(
            [columns.min(), rows.min(), columns.max(), rows.max()], 0, [view.camera.width, view.camera.height] * 2
        )
        np.testing.assert_allclose(
            [left, top, right, bottom], expected, atol=1.1 * view.camera.fx / view.camera.width / FOCAL * 32
        )


@pytest.fixture
def large(fake_mad: Path) -> Path:
    """The class with training pictures of 96 pixels: fine enough to see a pixel's shift."""
    for number, frame in enumerate(json.loads((fake_mad / NAME / "transforms.json").read_text())["frames"]):
        picture = ray_cast(BOXES, np.array(frame["transform_matrix"]), 96, 1)[0]
        cv2.imwrite(str(fake_mad / NAME / f"train/good/{number}.png"), picture[..., ::-1])
    return fake_mad


def change_picture(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    cv2.imwrite(str(path), np.ascontiguousarray(change(cv2.imread(str(path)))))


def test_the_pictures_of_the_fixture_agree_with_their_cameras(large: Path) -> None:
    assert_views_show_what_their_cameras_see(load_class(large, NAME))


@pytest.mark.parametrize("resolution", [None, 48])
def test_focal_lengths_and_principal_point_of_each_frame(large: Path, resolution: int | None) -> None:
    def crop(content: dict) -> None:
        content.pop("camera_angle_x")
        content.update(fl_x=3 * FOCAL, fl_y=3 * FOCAL, cx=48, cy=48, w=96, h=96, camera_model="PINHOLE")
        for i, frame in enumerate(content["frames"]):
            left, top = i % 5, 2 * (i % 3)
            change_picture(large / NAME / f"train/good/{i}.png", lambda p, a=left, b=top: p[b : b + 88, a : a + 90])
            frame.update(cx=48 - left, cy=48 - top, w=90, h=88)

    rewrite(large / NAME / "transforms.json", crop)
    data = load_class(large, NAME, resolution)
    assert len({view.camera.cx for view in data.gallery}) == 5
    assert_views_show_what_their_cameras_see(data)


def test_pictures_held_upright_are_turned_with_their_cameras(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    def upright(content: dict) -> None:
        for i, frame in enumerate(content["frames"]):
            change_picture(large / NAME / f"train/good/{i}.png", lambda p: p[8:-8])
            if i % 3 == 0:
                turn = np.eye(4)
                turn[:2, :2] = [[0, -1], [1, 0]]
                frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ turn).tolist()
                change_picture(large / NAME / f"train/good/{i}.png", lambda p: np.rot90(p, -1))
                frame["camera_angle_x"] = 2 * math.atan(40 / (3 * FOCAL))

    rewrite(large / NAME / "transforms.json", upright)
    with caplog.at_level(logging.WARNING):
        data = load_class(large, NAME)
    assert "6 of 18 training pictures are not 96x80" in caplog.text
    assert {tuple(view.image.shape) for view in data.gallery} == {(80, 96, 3)}
    assert_views_show_what_their_cameras_see(data)


def test_pictures_of_another_camera_are_scaled_and_cropped(large: Path) -> None:
    for i in (2, 7):
        change_picture(large / NAME / f"train/good/{i}.png", lambda p: cv2.resize(p, None, fx=2, fy=2)[20:-20])
    data = load_class(large, NAME)
    assert {tuple(view.image.shape) for view in data.gallery} == {(96, 96, 3)}
    assert_views_show_what_their_cameras_see(data)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean, in gray levels."""
    return (a.int() - b.int()).abs().float().mean().item()


def bent(lens: Lens, straight: np.ndarray) -> np.ndarray:
    """The picture as a lens with distortion takes it, by inverting the distortion point by point."""
    rows, columns = np.mgrid[0 : lens.height, 0 : lens.width].astype(np.float64)
    points = np.stack([columns, rows], -1).reshape(-1, 1, 2)
    matrix = np.array([[lens.fx, 0, lens.cx - 0.5], [0, lens.fy, lens.cy - 0.5], [0, 0, 1]])
    source = cv2.undistortPoints(points, matrix, np.array(lens.distortion), None, None, matrix)
    source = source.reshape(lens.height, lens.width, 2).astype(np.float32)
    return cv2.remap(straight, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def test_distortion_is_undone_for_training_pictures_and_queries(large: Path, tmp_path: Path) -> None:
    keys = {
        "fl_x": 3 * FOCAL,
        "cx": 50.0,
        "cy": 47.0,
        "w": 96,
        "h": 96,
        "k1": -0.8,
        "k2": 0.2,
        "p1": 0.03,
        "p2": -0.02,
    }
    for i in range(18):  # so smooth that two resamplings do not show
        change_picture(large / NAME / f"train/good/{i}.png", lambda p: cv2.GaussianBlur(p, None, 2))
    straight = load_class(large, NAME)
    pinhole = {key: value for key, value in keys.items() if key[0] not in "kp"}
    rewrite(large / NAME / "transforms.json", lambda c: c.update(pinhole))
    lens = LensSpec(keys, "").lens(96, 96)
    for i in range(18):
        change_picture(large / NAME / f"train/good/{i}.png", lambda p: bent(lens, p))
    rewrite(large / NAME / "transforms.json", lambda c: c.update(keys))
    data = load_class(large, NAME)
    for view, expected in zip(data.gallery, straight.gallery, strict=True):
        assert difference(view.image, expected.image) < 0.7
    taken = [Photograph(None, large / NAME / "train/good/3.png")]
    (query,) = load_queries(taken, QuerySetting.of(data, Source()))
    assert torch.equal(query.image, data.gallery[3].image)
    (raw,) = load_queries(taken, QuerySetting.of(data, Source(query_lens=LensSpec(pinhole, "--camera"))))
    assert difference(raw.image, straight.gallery[3].image) > 2 * difference(query.image, straight.gallery[3].image)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_lens_undistorts_turned_pictures(quarters: int) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    lens = Lens(60, 40, 70.0, 66.0, 32.0, 18.0, (-0.2, 0.05, 0.01, -0.02, 0.0, 0.0, 0.0, 0.0))
    expected = np.rot90(lens.undistorted(picture), quarters).astype(int)
    turned = lens.turned(quarters).undistorted(np.ascontiguousarray(np.rot90(picture, quarters)))
    assert np.abs(turned.astype(int) - expected).max() <= 2  # remap rounds to 1/32 pixel


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c.update(camera_model="OPENCV_FISHEYE"), "camera_model OPENCV_FISHEYE"),
        (lambda c: c.update(is_fisheye=True), "is_fisheye"),
        (lambda c: c.update(k4=0.1), "k4"),
        (lambda c: c.update(fl_x=-3), "fl_x is -3"),
        (lambda c: c.update(cx="left"), "cx is 'left'"),
        (lambda c: c.update(fl_x=40, w=20, h=32), "20x32 pixels, but one is 32x32"),
        (lambda c: c["frames"].append({**c["frames"][0], "transform_matrix": look_at(1, 0.2, 3).tolist()}), "two diff"),
    ],
)
def test_what_is_not_known_of_cameras_is_refused_by_name(fake_mad: Path, change, said: str) -> None:  # type: ignore[no-untyped-def]
    rewrite(fake_mad / NAME / "transforms.json", change)
    with pytest.raises(UserError, match=rf"transforms\.json.*{said}"):
        load_class(fake_mad, NAME)


def test_other_programs_ways_to_write_the_same_file(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = fake_mad / NAME
    expected = load_class(fake_mad, NAME)
    (root / "train/good/4.png").rename(root / "train/good/4.PNG")

    def respell(content: dict) -> None:
        frames = content["frames"]
        frames[0]["file_path"] = str(root / "train/good/0.png")
        frames[1]["file_path"] = "train\\good\\1.png"
        frames[2]["file_path"] = "./train/../train/good/2.png"
        frames[3]["file_path"] = "/elsewhere/images/3.png"
        frames[5]["transform_matrix"].pop()
        frames.append(frames[6])
        content.update(aabb_scale=16, applied_transform=[[1, 0, 0, 0]], ply_file_path="cloud.ply", mask_folder="m")

    rewrite(root / "transforms.json", respell)
    (root / "transforms.json").write_bytes(b"\xef\xbb\xbf" + (root / "transforms.json").read_bytes())
    with caplog.at_level(logging.WARNING):
        data = load_class(fake_mad, NAME)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "these keys are not used: mask_folder"
    ]
    for got, want in zip(data.gallery, expected.gallery, strict=True):
        assert got.name == want.name and torch.equal(got.image, want.image)
        assert torch.equal(got.camera.cam_from_world, want.camera.cam_from_world)


def test_missing_pictures_are_one_warning(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in (3, 5, 7, 8):
        (fake_mad / NAME / f"train/good/{i}.png").unlink()
    with caplog.at_level(logging.WARNING):
        data = load_class(fake_mad, NAME)
    assert len(data.gallery) == 14 and len(caplog.records) == 1
    assert "4 of 18 pictures that are missing" in caplog.text and "7, ..." in caplog.text
    for path in (fake_mad / NAME / "train/good").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no training picture that is there"):
        load_class(fake_mad, NAME)


def test_photographs_beside_their_transforms_and_test_frames_among_them(fake_mad: Path) -> None:
    root = fake_mad / NAME
    (root / "train/good").rename(root / "images")
    test = json.loads((root / "transforms_test.json").read_text())["frames"]
    (root / "transforms_test.json").unlink()

    def move(content: dict) -> None:
        for frame in content["frames"]:
            frame["file_path"] = frame["file_path"].replace("train/good/", "images/") + ".png"
        content["frames"] += test

    rewrite(root / "transforms.json", move)
    data = load_class(fake_mad, NAME)
    assert data.kind == "photographs" and len(data.gallery) == 18
    assert len(data.test) == 12 and all(sample.camera is not None for sample in data.test)


KNOWN = Lens(400, 300, 500.0, 510.0, 210.0, 140.0)


@pytest.mark.parametrize(
    "size, exif, expected, guessed",
    [
        ((400, 300), None, (500, 510, 210, 140), False),
        ((400, 300), 900.0, (500, 510, 210, 140), False),  # the very camera: EXIF rounds
        ((800, 600), None, (1000, 1020, 420, 280), False),
        ((800, 600), 1030.0, (1000, 1020, 420, 280), False),
        ((800, 600), 1400.0, (1400, 1400, 400, 300), True),
        ((300, 400), None, (510, 500, 150, 200), False),
        ((400, 225), None, (500, 500, 200, 112.5), True),  # cropped to 16:9
        ((300, 300), None, (500, 500, 150, 150), True),
        ((225, 400), None, (510, 510, 112.5, 200), True),
        ((400, 225), 700.0, (700, 700, 200, 112.5), True),
    ],
)
def test_the_lens_of_a_query(size: tuple[int, int], exif: float | None, expected: tuple, guessed: bool) -> None:
    lens, said = query_lens(*size, KNOWN, exif)
    assert (lens.fx, lens.fy, lens.cx, lens.cy) == pytest.approx(expected) and (said is not None) == guessed


def test_of_queries_of_another_shape_the_guess_is_told_unless_their_camera_is(fake_mad: Path, tmp_path: Path) -> None:
    data = load_class(fake_mad, NAME)
    paths = [tmp_path / f"{i}.jpg" for i in range(2)]
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    Image.new("RGB", (60, 40)).save(paths[0])
    Image.new("RGB", (60, 40)).save(paths[1], exif=exif)
    photographs = [Photograph(None, path) for path in paths]
    ((first, second),) = read_in_turn(photographs, QuerySetting.of(data, Source()))
    plain, told = first.sample, second.sample
    assert plain is not None and told is not None
    assert plain.intrinsics.fx == pytest.approx(FOCAL * 60 / 32)
    assert told.intrinsics.fx == pytest.approx(50 * math.hypot(60, 40) / 43.267)
    assert first.guess != second.guess and all("60x40 pixels" in (one.guess or "") for one in (first, second))
    (tmp_path / "camera.json").write_text('{"fl_x": 300, "fl_y": 310, "cx": 61, "cy": 39, "w": 120, "h": 80}')
    lens = read_lens(tmp_path / "camera.json")
    ((first, second),) = read_in_turn(photographs, QuerySetting.of(data, Source(query_lens=lens)))
    for one in (first, second):
        assert one.sample is not None and one.guess is None
        camera = one.sample.intrinsics
        assert (camera.fx, camera.fy, camera.cx, camera.cy) == (150, 155, 30.5, 19.5)


def test_a_photograph_whose_transforms_ignore_exif_is_turned_back(fake_mad: Path) -> None:
    root = fake_mad / NAME
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "train/good/0.png").unlink()
    stored = cv2.resize(np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8), (32, 24))
    for i in range(18):
        (root / f"train/good/{i}.png").unlink(missing_ok=True)
        Image.fromarray(stored).save(root / f"train/good/{i}.jpg", exif=exif, quality=100)
    rewrite(root / "transforms.json", lambda c: c.update(fl_x=40, w=32, h=24))
    view = load_class(fake_mad, NAME).gallery[0]
    assert view.image.shape == (24, 32, 3) and (view.camera.width, view.camera.height) == (32, 24)
    assert difference(view.image, torch.from_numpy(stored)) < 12
