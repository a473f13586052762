import json
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from PAD_utils.data.listing import natural_key
from PAD_utils.data.mad import CLASSES, load_class, resize_mask
from PAD_utils.errors import UserError
from tests.fake_class import BOXES, NAME, ray_cast


def rewrite_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_twenty_classes() -> None:
    assert len(CLASSES) == 20 and CLASSES[0] == "01Gorilla" and CLASSES[-1] == "20Puppy"
    assert [int(name[:2]) for name in CLASSES] == list(range(1, 21))


def test_a_raw_class(fake_mad: Path) -> None:
    data = load_class(fake_mad, NAME)
    assert (
        data.kind == "mad"
        and "raw MAD-Sim folder" in data.description
        and "18 training and 12 test" in data.description
    )
    assert [view.name for view in data.gallery] == [str(n) for n in range(18)]
    assert [sample.key for sample in data.test][:4] == ["Burrs/0.png", "Burrs/1.png", "Burrs/2.png", "Missing/0.png"]
    assert [sample.label for sample in data.test] == [1] * 9 + [0] * 3
    for sample in data.test:
        assert sample.camera is not None and sample.image.shape == (32, 32, 3)
        assert sample.mask is None if sample.label == 0 else sample.mask is not None and sample.mask.any()


def test_camera_and_picture_belong_together(fake_mad: Path) -> None:
    data = load_class(fake_mad, NAME)
    for view in data.gallery:
        picture, _ = ray_cast(BOXES, data.world.outward(view.camera.to_blender()).numpy(), 32)
        # Cameras stand on a grid, a ten-millionth off: a ray that grazes an edge may miss it.
        assert np.mean(np.abs(picture.astype(int) - view.image.numpy()) > 1) < 2e-3


@pytest.mark.parametrize("resolution, width", [(None, 32), (1, 32), (2, 16), (4, 8), (16, 16)])
def test_resolution(fake_mad: Path, resolution: int | None, width: int) -> None:
    data = load_class(fake_mad, NAME, resolution)
    camera = data.gallery[0].camera
    assert data.gallery[0].image.shape == (width, width, 3) and (camera.width, camera.height) == (width, width)
    assert camera.fx == pytest.approx(0.5 * width / math.tan(0.5 * 0.6911112070083618))
    assert all(s.mask is None or (s.mask.shape == (width, width) and s.mask.any()) for s in data.test)


def test_a_bad_resolution_is_a_user_error(fake_mad: Path) -> None:
    with pytest.raises(UserError, match="resolution"):
        load_class(fake_mad, NAME, 3)


def test_names_padded_by_other_tools_and_frames_with_png_are_found(fake_mad: Path) -> None:
    root = fake_mad / NAME
    expected = load_class(fake_mad, NAME)
    for picture in [*root.glob("train/good/*.png"), *root.glob("test/*/*.png")]:
        picture.rename(picture.with_name(f"{int(picture.stem):03}.png"))
    for mask in list(root.glob("ground_truth/*/*.png")):
        mask.rename(mask.with_name(f"{int(mask.stem.removesuffix('_mask')):03}.png"))
    rewrite_json(
        root / "transforms.json", lambda c: [f.update(file_path=f"./{f['file_path']}.png") for f in c["frames"]]
    )
    data = load_class(fake_mad, NAME)
    for got, want in zip(data.gallery, expected.gallery, strict=True):
        assert got.name == f"{int(want.name):03}" and torch.equal(got.image, want.image)
        assert torch.equal(got.camera.cam_from_world, want.camera.cam_from_world)
    for sample, other in zip(data.test, expected.test, strict=True):
        assert sample.camera is not None and other.camera is not None
        assert torch.equal(sample.camera.cam_from_world, other.camera.cam_from_world)
        assert torch.equal(sample.image, other.image) and (sample.mask is None) == (other.mask is None)


def test_frames_in_any_order_keep_their_pictures(fake_mad: Path) -> None:
    expected = load_class(fake_mad, NAME)
    rewrite_json(fake_mad / NAME / "transforms.json", lambda c: c["frames"].reverse())
    data = load_class(fake_mad, NAME)
    for got, want in zip(data.gallery, expected.gallery, strict=True):
        assert got.name == want.name and torch.equal(got.camera.cam_from_world, want.camera.cam_from_world)


def test_natural_order() -> None:
    assert sorted(["10.png", "9.png", "2.png", "a1.png", "1.png"], key=natural_key) == [
        "1.png", "2.png", "9.png", "10.png", "a1.png",
    ]  # fmt: skip


def test_the_data_path_may_be_the_class_itself(fake_mad: Path) -> None:
    assert len(load_class(fake_mad / NAME, NAME).gallery) == 18


def test_a_class_without_ground_truth_or_test_poses(fake_mad: Path) -> None:
    root = fake_mad / NAME
    for mask in list(root.glob("ground_truth/*/*.png")):
        mask.unlink()
    for folder in [*root.glob("ground_truth/*"), root / "ground_truth"]:
        folder.rmdir()
    (root / "transforms_test.json").unlink()
    assert all(s.mask is None and s.camera is None for s in load_class(fake_mad, NAME).test)


def test_a_nerf_synthetic_scene(fake_mad: Path, tmp_path: Path) -> None:
    scene = tmp_path / "nerf" / "lego"
    source = fake_mad / NAME
    for split in ("train", "test"):
        (scene / split).mkdir(parents=True)
        frames = json.loads((source / "transforms.json").read_text())["frames"][:12]
        for number, frame in enumerate(frames):
            picture = cv2.imread(str(source / f"{frame['file_path']}.png"))
            alpha = 255 * (picture.min(-1) < 250).astype(np.uint8)
            cv2.imwrite(str(scene / split / f"r_{number}.png"), np.dstack([picture, alpha]))
            frame["file_path"] = f"./{split}/r_{number}"
        content = {"camera_angle_x": 0.69, "frames": frames}
        (scene / f"transforms_{split}.json").write_text(json.dumps(content))
    (scene / "test" / "r_0_depth_0001.png").write_bytes(b"not read")
    data = load_class(tmp_path / "nerf", "lego", None)
    assert data.kind == "nerf-synthetic" and "NeRF-synthetic" in data.description
    assert [s.key for s in data.test] == [f"good/r_{n}.png" for n in range(12)]
    assert all(s.camera is not None and s.mask is None for s in data.test)
    assert data.gallery[0].image[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_background_turns_white(fake_mad: Path) -> None:
    path = fake_mad / NAME / "train" / "good" / "0.png"
    cv2.imwrite(str(path), np.dstack([np.full((32, 32, 3), 10, np.uint8), np.full((32, 32), 51, np.uint8)]))
    assert load_class(fake_mad, NAME).gallery[0].image[3, 4].tolist() == [206, 206, 206]  # 0.2 * 10 + 0.8 * 255


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def wrong_size(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-1])


@pytest.mark.parametrize(
    "name, harm, said",
    [
        ("train/good/3.png", truncate, "complete"),
        ("train/good/0.png", truncate, "complete"),
        ("test/Burrs/1.png", truncate, "complete"),
        ("ground_truth/Stains/0_mask.png", truncate, "complete"),
        ("ground_truth/Stains/0_mask.png", wrong_size, r"expected \d+x\d+"),
    ],
)
def test_a_broken_picture_is_named(fake_mad: Path, name: str, harm, said: str) -> None:
    harm(fake_mad / NAME / name)
    with pytest.raises(UserError, match=f"{name}.*{said}"):
        load_class(fake_mad, NAME)


@pytest.mark.parametrize("name", ["transforms.json", "ground_truth/Stains/0_mask.png"])
def test_a_missing_file_is_named(fake_mad: Path, name: str) -> None:
    (fake_mad / NAME / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_class(fake_mad, NAME)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c["frames"][2]["transform_matrix"][0].__setitem__(0, math.nan), "NaN"),
        (lambda c: c["frames"][2]["transform_matrix"][0].__setitem__(0, 7.0), "orthonormal"),
        (lambda c: c["frames"][2].update(transform_matrix=[[1, 0, 0, 0]] * 2), r"\(2, 4\)"),
        (lambda c: c["frames"][2]["transform_matrix"][1].pop(), "no transforms file"),
        (lambda c: c.pop("camera_angle_x"), "camera_angle_x"),
        (lambda c: c.update(camera_angle_x=40), "radians"),
        (lambda c: c["frames"].clear(), "no frames"),
        (lambda c: c["frames"][2].pop("file_path"), "file_path"),
    ],
)
def test_a_broken_pose_file_is_named(fake_mad: Path, change, said: str) -> None:
    rewrite_json(fake_mad / NAME / "transforms.json", change)
    with pytest.raises(UserError, match=rf"transforms\.json.*{said}"):
        load_class(fake_mad, NAME)


def test_an_unknown_class_lists_those_that_are_there(fake_mad: Path) -> None:
    with pytest.raises(UserError, match="no class 07Owl .*classes there: 00Fake"):
        load_class(fake_mad, "07Owl")
    with pytest.raises(UserError, match="no folder"):
        load_class(fake_mad / "nowhere", "07Owl")
    (fake_mad / "empty").mkdir()
    with pytest.raises(UserError, match="empty is no class"):
        load_class(fake_mad, "empty")


def test_a_class_without_queries_still_has_its_gallery(fake_mad: Path) -> None:
    (fake_mad / NAME / "test").rename(fake_mad / NAME / "queries")
    data = load_class(fake_mad, NAME)
    assert data.test == [] and len(data.gallery) == 18


def test_an_empty_mask_is_one_warning_that_names_it(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(fake_mad / NAME / "ground_truth" / "Burrs" / "1_mask.png"), np.zeros((32, 32), np.uint8))
    with caplog.at_level(logging.WARNING):
        data = load_class(fake_mad, NAME)
    assert "Burrs/1.png" in caplog.text and len(caplog.records) == 1
    assert data.test[1].label == 1 and data.test[1].mask is not None and not data.test[1].mask.any()


def test_a_picture_without_a_pose_is_left_out_and_said(fake_mad: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite_json(fake_mad / NAME / "transforms.json", lambda c: c["frames"].pop(4))
    with caplog.at_level(logging.WARNING):
        assert len(load_class(fake_mad, NAME).gallery) == 17
    assert "4.png" in caplog.text


def test_a_shrunk_mask_keeps_covered_pixels_and_never_vanishes() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    assert resize_mask(mask, 2, 2).tolist() == [
        [True, False],
        [False, False],
    ]  # 1/16 covered: kept, else nothing is left
    mask[4:6, 4:8] = True  # half of the last quarter
    assert resize_mask(mask, 2, 2).tolist() == [[False, False], [False, True]]
    assert not resize_mask(np.zeros((8, 8), bool), 2, 2).any()


@pytest.mark.parametrize("of_training_too", [True, False])
def test_photographs_of_cut_outs_are_kept_where_the_training_pictures_are_cut_out(
    fake_mad: Path, of_training_too: bool
) -> None:
    """Beside training pictures before white, a query's surroundings would be compared with white."""
    for kind in ["test/good", *["train/good"] * of_training_too]:
        for path in (fake_mad / NAME / kind).glob("*.png"):
            picture = cv2.imread(str(path))
            part = (picture < 250).any(2)
            picture[~part] = np.random.default_rng(0).integers(0, 255, (int((~part).sum()), 3))
            cv2.imwrite(str(path), np.dstack([picture, 255 * part.astype(np.uint8)]))
    data = load_class(fake_mad, NAME, resolution=16)
    good = [sample for sample in data.test if sample.defect == "good"]
    assert all((view.uncut is not None) is of_training_too for view in data.gallery)
    for shown in (*data.gallery, *good) if of_training_too else ():
        part = (shown.image < 200).any(2)
        assert shown.photograph.shape == shown.image.shape == (16, 16, 3)
        assert (shown.image[0] == 255).all() and (shown.photograph[0] < 255).any()
        assert (shown.photograph[part].int() - shown.image[part].int()).abs().float().median() < 2
    assert all(of_training_too or sample.photograph is sample.image for sample in good)
