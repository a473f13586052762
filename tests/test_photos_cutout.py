"""The cut-out: a ball on a patterned table in a room, by rays, with its true masks."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_photos import ring, text_model

import prepare_photos
from gaussian_splatting.camera import Camera
from gaussian_splatting.training import surroundings
from PAD_utils.data.mad import load_class
from PAD_utils.photos import scene_cut
from PAD_utils.photos.cutout import CutOut, cut_by_color, cut_out, enlarged, odd_ones
from PAD_utils.photos.table import differing, find_table

pytest.importorskip("pycolmap")
SIZE, F, RADIUS = (120, 90), 150.0, 0.6


def scene(
    poses: list[np.ndarray], as_the_table: bool = False, turntable: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray], list[Camera], np.ndarray]:
    """Pictures (BGR), masks of the ball, cameras, and points on ball and table. The ball is red, or has the colors of
    the table; the room stands around it, or still behind a turntable."""
    rng = np.random.default_rng(0)
    cells = rng.integers(40, 220, (24, 24, 3))
    walls = rng.integers(60, 200, (9, 12, 3)).astype(np.uint8)
    still, walls = (cv2.resize(walls, size, interpolation=cv2.INTER_CUBIC) for size in (SIZE, (90, 45)))
    pictures, masks, cameras = [], [], []
    for pose in poses:
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5 - SIZE[0] / 2, np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2)
        rays = np.stack([x / F, y / F, np.ones_like(x)], -1) @ pose[:3, :3]
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        center = -pose[:3, :3].T @ pose[:3, 3]
        along = -(rays @ center)
        inside = RADIUS**2 - (center @ center - along**2)
        ball = inside > 0
        normal = (center + rays * (along - np.sqrt(np.maximum(inside, 0)))[..., None]) / RADIUS
        table = np.where(rays[..., 2] < -1e-6, (-RADIUS - center[2]) / np.minimum(rays[..., 2], -1e-6), 0)
        spot = center[:2] + rays[..., :2] * table[..., None]
        on_table = (table > 0) & (np.abs(spot) < 3).all(-1)
        around, up = np.arctan2(rays[..., 1], rays[..., 0]) / np.pi, rays[..., 2]
        wall = walls[np.clip(45 * (up + 1) / 2, 0, 44).astype(int), np.clip(45 * (around + 1), 0, 89).astype(int)]
        wall = still if turntable else wall
        index = np.clip((spot + 3) * 4, 0, 23).astype(int)
        picture = np.where(on_table[..., None], cells[index[..., 0], index[..., 1]], wall)
        spot_of = np.clip(normal * 12 + 12, 0, 23).astype(int)
        color = cells[spot_of[..., 0], spot_of[..., 1]]
        if not as_the_table:
            color = np.array([40, 60, 190]) * (0.75 + 0.25 * normal[..., 2:])
        picture = np.where(ball[..., None], color, picture) + rng.normal(0, 4, picture.shape)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
        masks.append(ball)
        cameras.append(Camera(*SIZE, F, F, SIZE[0] / 2, SIZE[1] / 2, torch.from_numpy(pose)))
    on_ball = rng.normal(size=(200, 3))
    on_ball *= RADIUS / np.linalg.norm(on_ball, axis=1, keepdims=True)
    flat = np.column_stack([rng.uniform(-1.2, 1.2, (300, 2)), np.full(300, -RADIUS)])
    return pictures, masks, cameras, np.concatenate([on_ball, flat])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Models of scenes as small as these pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_cut, "_ITERATIONS", 200)
        patch.setattr(surroundings, "_POINTS", 1500)
        patch.setattr(surroundings, "_BUDGET", 4.0)
        yield


@pytest.fixture(scope="module")
def cut(room: tuple) -> CutOut:
    pictures, _, cameras, points = room
    return cut_out(pictures, cameras, points)


@pytest.fixture(scope="module")
def room() -> tuple[list[np.ndarray], list[np.ndarray], list[Camera], np.ndarray]:
    return scene(ring(15, 7, 4.0) + ring(45, 7, 4.0))


def test_a_ball_is_cut_out_of_its_room(room: tuple, cut: CutOut) -> None:
    agreement = [iou(a, b) for a, b in zip(cut.masks, room[1], strict=True)]
    assert cut.holds and min(agreement) > 0.94 and odd_ones(["x"] * 14, cut) == []
    assert cut.how == "by its place in a model of the scene"


def test_a_ball_with_the_colors_of_its_table_is_cut_out_by_its_place() -> None:
    pictures, truth, cameras, points = scene(ring(15, 7, 4.0) + ring(45, 7, 4.0), as_the_table=True)
    cut = cut_out(pictures, cameras, points)
    agreement = [iou(a, b) for a, b in zip(cut.masks, truth, strict=True)]
    assert cut.holds and min(agreement) > 0.85, agreement


def test_what_has_the_color_of_the_part_but_not_its_place_is_left_out(room: tuple) -> None:
    pictures, truth, cameras, points = room
    changed = [picture.copy() for picture in pictures]
    changed[3][:, -22:] = (40, 60, 170)  # a red curtain, in one view only
    cut = cut_out(changed, cameras, points)
    assert iou(cut.masks[3], truth[3]) > 0.9


def test_a_ball_on_a_turntable_is_cut_out_of_its_room() -> None:
    """Though no model explains a room that does not turn with the table."""
    pictures, truth, cameras, points = scene(ring(15, 7, 4.0) + ring(45, 7, 4.0), turntable=True)
    cut = cut_out(pictures, cameras, points)
    assert cut.holds and min(iou(a, b) for a, b in zip(cut.masks, truth, strict=True)) > 0.9


def test_a_query_is_cut_out_by_the_colors_that_the_class_has_shown(cut: CutOut) -> None:
    query, mask, _, _ = scene(ring(30, 1, 3.6))
    query[0][40:46, 57:63] = 120  # a gray spot in the middle stays part of it
    assert mask[0][40:46, 57:63].all() and iou(cut_by_color(query[0], cut.colors), mask[0]) > 0.85
    assert cut_by_color(query[0], cut.colors)[40:46, 57:63].all()


def test_views_of_nothing_are_no_cut_out(room: tuple) -> None:
    _, _, cameras, points = room
    noise = np.random.default_rng(1).integers(0, 256, (14, SIZE[1], SIZE[0], 3)).astype(np.uint8)
    assert not cut_out(list(noise), cameras, points).holds


def test_an_enlarged_mask_keeps_its_place() -> None:
    mask = np.zeros((30, 40), bool)
    mask[10:20, 12:30] = True
    alpha = enlarged(mask, 160, 120) > 127
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((40, 79, 48, 119), abs=1)


def write_photos(folder: Path, pictures: list[np.ndarray]) -> list[str]:
    folder.mkdir(parents=True)
    names = [f"p{i:02d}.png" for i in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        cv2.imwrite(str(folder / name), picture)
    return names


@pytest.fixture
def prepared(tmp_path: Path, room: tuple) -> Path:
    """Photographs, a COLMAP model of them, masks, and queries with a stain."""
    names = write_photos(tmp_path / "photos", room[0])
    text_model(tmp_path / "model", names, f"1 SIMPLE_PINHOLE {SIZE[0]} {SIZE[1]} {F} 60 45", ring(15, 14, 4.0))
    write_photos(tmp_path / "masks", [255 * mask.astype(np.uint8) for mask in room[1]])
    for kind in ("good", "stain"):
        write_photos(tmp_path / "queries" / kind, room[0][:2])
    stain = np.zeros(SIZE[::-1], np.uint8)
    stain[40:45, 60:66] = 255
    write_photos(tmp_path / "query_masks" / "stain", [stain, stain])
    return tmp_path


def prepare(folder: Path, *more: str) -> Path:
    where = [str(folder / "photos"), "--out", str(folder / "data"), "-c", "Ball", "--colmap", str(folder / "model")]
    assert prepare_photos.main([*where, *more]) == 0
    return folder / "data" / "Ball"


def test_masks_of_the_user_become_alpha(prepared: Path, room: tuple) -> None:
    root = prepare(prepared, "--masks", str(prepared / "masks"))
    picture = cv2.imread(str(root / "train/good/p04.png"), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (*SIZE[::-1], 4) and np.array_equal(picture[..., 3] > 0, room[1][4])
    assert np.array_equal(picture[..., :3], room[0][4])  # colors are kept below what is transparent
    assert json.loads((root / "photos.json").read_text())["background"].startswith("masks of")


def test_queries_of_a_class_with_masks_are_cut_out_too(prepared: Path, room: tuple) -> None:
    """Else they would be held against views that stand before white."""
    root = prepare(prepared, "--masks", str(prepared / "masks"), "--queries", str(prepared / "queries" / "good"))
    query = cv2.imread(str(root / "queries/p01.png"), cv2.IMREAD_UNCHANGED)
    assert query.shape[2] == 4 and np.array_equal(query[..., :3], room[0][1])
    assert iou(query[..., 3] > 127, room[1][1]) > 0.85
    data = load_class(prepared / "data", "Ball")
    assert all(view.uncut is not None for view in data.gallery)


def test_a_missing_mask_is_named(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (prepared / "masks" / "p07.png").unlink()
    where = [
        str(prepared / "photos"),
        "--out",
        str(prepared / "data"),
        "-c",
        "Ball",
        "--colmap",
        str(prepared / "model"),
    ]
    assert prepare_photos.main([*where, "--masks", str(prepared / "masks")]) == 2
    assert "masks/p07.png is missing" in capsys.readouterr().err and not (prepared / "data" / "Ball").exists()


def test_a_cut_out_that_fails_is_not_used_and_said_aloud(prepared: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    for path in (prepared / "photos").iterdir():
        cv2.imwrite(str(path), rng.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
    with caplog.at_level("INFO"):
        root = prepare(prepared)
    assert cv2.imread(str(root / "train/good/p00.png"), cv2.IMREAD_UNCHANGED).shape[2] == 3
    assert "could not be cut out" in caplog.text


def test_queries_become_test_pictures_that_the_reader_reads(prepared: Path) -> None:
    root = prepare(prepared, "--background", "keep", "--queries", str(prepared / "queries"), "--query_masks",
                   str(prepared / "query_masks"))  # fmt: skip
    data = load_class(prepared / "data", "Ball")
    assert data.gallery[3].camera.fx / data.gallery[3].camera.width == pytest.approx(F / SIZE[0])
    assert len(data.gallery) == 14 and [(s.defect, s.name) for s in data.test] == [
        ("good", "p00"), ("good", "p01"), ("stain", "p00"), ("stain", "p01"),
    ]  # fmt: skip
    assert data.test[2].mask is not None and int(data.test[2].mask.sum()) == 30
    assert (root / "ground_truth/stain/p01_mask.png").is_file()


def test_queries_without_folders_go_beside_the_class(prepared: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepare(prepared, "--background", "keep")
    cv2.imwrite(str(prepared / "queries/good/odd.png"), np.zeros((50, 50, 3), np.uint8))
    with caplog.at_level("INFO"):
        root = prepare(prepared, "--background", "keep", "--queries", str(prepared / "queries" / "good"))
    assert sorted(p.name for p in (root / "queries").iterdir()) == ["odd.png", "p00.png", "p01.png"]
    assert "another shape" in caplog.text and "odd.png" in caplog.text


def test_what_differs_from_the_empty_table_is_the_part_whatever_its_color() -> None:
    pictures, truth, cameras, points = scene(ring(45, 14, 4.0), turntable=True)
    table = find_table(points, 0.05)
    assert table is not None and table == pytest.approx([0, 0, 1, RADIUS], abs=0.02)
    for (differs, shown), mask in zip(differing(pictures, cameras, table, 1.0), truth, strict=True):
        assert differs[shown & mask].mean() > 0.5 and differs[shown & ~mask].mean() < 0.07


def test_a_cloud_without_a_plane_has_no_table() -> None:
    cloud = np.random.default_rng(0).normal(size=(300, 3))
    assert find_table(cloud, 0.02) is None and find_table(cloud[:10], 0.02) is None
