"""What lies in a folder of pictures beside pictures."""

import json
import logging
import shutil
from pathlib import Path

import cv2
import pytest

from PAD_utils.data import photographs
from PAD_utils.data.layout import list_class
from PAD_utils.data.listing import list_pictures, note_left_out, subfolders
from PAD_utils.data.mad import Source, load_class
from PAD_utils.data.photographs import QuerySetting, list_photographs, load_queries, read_in_turn
from PAD_utils.data.prepare import prepare_class
from PAD_utils.errors import UserError
from tests.fake_class import NAME


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_pictures_of_every_format_in_natural_order_and_the_rest_is_named(tmp_path: Path, caplog) -> None:
    pictures = ["1.BMP", "2.tif", "3.HEIC", "10.png", "a.jpeg"]
    fill(tmp_path, *reversed(pictures), "raw.dng", "notes.txt", "more/1.png")
    fill(tmp_path, "Thumbs.db", ".DS_Store", "._1.png", "__MACOSX/1.png", "@eaDir/1.png", ".thumbnails/1.png")
    assert [path.name for path in list_pictures(tmp_path)] == pictures
    note_left_out(tmp_path)
    (record,) = caplog.records
    assert "left out: more, notes.txt, raw.dng (read are" in record.getMessage()
    caplog.clear()
    note_left_out(tmp_path, [tmp_path / "more/1.png"])
    assert "more" not in caplog.records[0].getMessage()
    assert subfolders(tmp_path) == ["more"] and subfolders(tmp_path / "gone") == []


def test_links_count_as_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "0.png").touch()
    for name, target in {"1.png": "there/0.png", "2.png": "nowhere", "loop.png": "loop.png", "folder": "there"}.items():
        (tmp_path / name).symlink_to(target)
    assert [path.name for path in list_pictures(tmp_path)] == ["1.png"]
    assert subfolders(tmp_path) == ["folder", "there"]


@pytest.mark.parametrize("folder", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails"])
def test_folders_of_other_programs_are_no_defects(fake_mad: Path, folder: str) -> None:
    count = len(load_class(fake_mad, NAME).test)
    content = next((fake_mad / NAME / "test/good").glob("*.png")).read_bytes()
    for place in ("test", "ground_truth", "test/good", "train/good"):
        (fake_mad / NAME / place / folder).mkdir()
        (fake_mad / NAME / place / folder / "0-checkpoint.png").write_bytes(content)
    assert len(load_class(fake_mad, NAME).test) == count


def test_a_class_with_a_file_that_cannot_be_read_says_so(fake_mad: Path, caplog) -> None:
    for place in ("train/good", "test/good", "test/Burrs"):
        (fake_mad / NAME / place / "77.dng").touch()
    with caplog.at_level(logging.WARNING):
        load_class(fake_mad, NAME)
    said = [record.getMessage() for record in caplog.records if "77.dng" in record.getMessage()]
    assert len(said) == 3 and len(set(said)) == 3


def test_a_mask_of_exactly_the_picture_s_name_is_its_mask(fake_mad: Path) -> None:
    test, truth = (fake_mad / NAME / folder / "Burrs" for folder in ("test", "ground_truth"))
    (test / "0.png").rename(test / "01.png")
    (truth / "0_mask.png").rename(truth / "01_mask.png")
    files = {file.path.name: file.mask for file in list_class(fake_mad, NAME).test if file.defect == "Burrs"}
    assert (files["1.png"], files["01.png"]) == (truth / "1_mask.png", truth / "01_mask.png")
    (truth / "1_mask.png").unlink()
    with pytest.raises(UserError, match=r"01_mask.png would be the mask of .*Burrs/0?1.png and of another"):
        list_class(fake_mad, NAME)


def test_a_pose_goes_to_the_picture_of_exactly_its_name(fake_mad: Path) -> None:
    """Of 1.png and 01.png each has its own frame, and one that has none does not get the other's."""
    root = fake_mad / NAME
    (root / "test/good/0.png").rename(root / "test/good/01.png")
    content = json.loads((root / "transforms_test.json").read_text())
    frames = {frame["file_path"]: frame for frame in content["frames"]}
    zero = next(name for name in frames if Path(name).parent.name == "good" and Path(name).stem == "0")
    frames[zero]["file_path"] = zero.replace("0", "01")
    (root / "transforms_test.json").write_text(json.dumps(content))
    poses = {f.path.name: f.world_from_camera for f in list_class(fake_mad, NAME).test if f.defect == "good"}
    assert poses["01.png"].tolist() == frames[zero]["transform_matrix"] != poses["1.png"].tolist()
    content["frames"] = [frame for frame in content["frames"] if Path(frame["file_path"]).name.split(".")[0] != "1"]
    (root / "transforms_test.json").write_text(json.dumps(content))
    poses = {f.path.name: f.world_from_camera for f in list_class(fake_mad, NAME).test if f.defect == "good"}
    assert poses["01.png"] is not None and poses["1.png"] is None


def test_capitals_and_ways_to_write_an_accent_do_not_part_a_picture_and_its_mask(fake_mad: Path) -> None:
    test, truth = (fake_mad / NAME / folder / "Burrs" for folder in ("test", "ground_truth"))
    for old, picture, mask in (("0", "caf\u00e9", "cafe\u0301"), ("1", "IMG", "img")):
        (test / f"{old}.png").rename(test / f"{picture}.png")
        (truth / f"{old}_mask.png").rename(truth / f"{mask}_mask.png")
    files = {file.path.stem: file.mask for file in list_class(fake_mad, NAME).test if file.defect == "Burrs"}
    assert files["caf\u00e9"] == truth / "cafe\u0301_mask.png" and files["IMG"] == truth / "img_mask.png"


@pytest.mark.parametrize("names", [("a", "A"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_are_one_file_on_some_system_are_refused(fake_mad: Path, names: tuple[str, str]) -> None:
    good = fake_mad / NAME / "test" / "good"
    for name in names:
        shutil.copy(good / "0.png", good / f"{name}.png")
    if (
        len(list(good.iterdir())) < 5
    ):  # this file system takes both names for one: nothing can meet, and nothing is lost
        assert {f.path for f in list_class(fake_mad, NAME).test if f.defect == "good"} == set(good.iterdir())
        return
    with pytest.raises(UserError, match="two pictures go by the name good/.* and good/.*capitals"):
        load_class(fake_mad, NAME)
    with pytest.raises(UserError, match="would both become ./test/good/"):
        prepare_class(fake_mad, NAME, fake_mad / "out")


def test_masks_that_are_inverted_or_mark_all_are_said_in_one_warning(fake_mad: Path, caplog) -> None:
    masks = sorted((fake_mad / NAME / "ground_truth" / "Burrs").iterdir())
    for path in masks:
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    with caplog.at_level(logging.WARNING):
        load_class(fake_mad, NAME)
    (said,) = [record.getMessage() for record in caplog.records if "masks" in record.getMessage()]
    assert f"{len(masks)} masks mark more than half of the picture (first: Burrs/0.png)" in said


@pytest.mark.parametrize("loss", ["test", "ground_truth", "a picture"])
def test_without_tests_nothing_of_the_test_set_is_needed(fake_mad: Path, loss: str) -> None:
    root = fake_mad / NAME
    if loss == "a picture":
        (root / "test/good/0.png").write_bytes(b"")
        (root / "ground_truth/Burrs/0_mask.png").unlink()
    else:
        shutil.rmtree(root / loss)
    data = load_class(fake_mad, NAME, source=Source(with_tests=False))
    assert len(data.gallery) == 18 and data.test == []


def test_a_query_that_cannot_be_read_is_named_and_the_others_are_loaded(fake_mad: Path) -> None:
    data, photos = load_class(fake_mad, NAME), fake_mad / "photos"
    shutil.copytree(fake_mad / NAME / "test" / "good", photos)
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:-20])
    (photos / "2.png").write_bytes(b"")
    loaded = list(read_in_turn(list_photographs(photos), QuerySetting.of(data, Source())))
    assert [[one.sample is not None for one in some] for some in loaded] == [[True, False, False]]
    assert f"{photos / '1.png'}: not a complete" in str(loaded[0][1].unreadable)
    with pytest.raises(UserError, match="1.png: not a complete picture"):
        load_queries(list_photographs(photos), QuerySetting.of(data, Source()))


def test_subfolders_are_parts_and_a_list_names_pictures(tmp_path: Path, caplog) -> None:
    fill(tmp_path / "in", "2.png", "notes.txt", "b/10.png", "b/9.png", "a/1.png", "a/deep/1.png", ".git/1.png")
    found = list_photographs(tmp_path / "in")
    assert [p.key for p in found] == ["images/2.png", "a/1.png", "b/9.png", "b/10.png"]
    assert [p.part for p in found] == [None, "a", "b", "b"]
    assert "left out: notes.txt" in caplog.text and "left out: deep" in caplog.text
    (tmp_path / "list.txt").write_text("# taken on Monday\nin/b/9.png\n\nin/2.png\n")
    assert [p.key for p in list_photographs(tmp_path / "list.txt")] == ["images/9.png", "images/2.png"]
    for line, said in (("in/notes.txt", "names .*notes.txt"), ("in/b/9.png\nin/9.JPG", "two pictures go by the name")):
        (tmp_path / "list.txt").write_text(line)
        with pytest.raises(UserError, match=said):
            list_photographs(tmp_path / "list.txt")
    with pytest.raises(UserError, match="nowhere holds no pictures"):
        list_photographs(tmp_path / "nowhere")


def test_large_photographs_are_read_fewer_at_a_time(fake_mad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = QuerySetting.of(load_class(fake_mad, NAME), Source())
    taken = list_photographs(fake_mad / NAME / "train" / "good")
    assert [len(some) for some in read_in_turn(taken, setting)] == [18]
    monkeypatch.setattr(photographs, "_PIXELS_AT_ONCE", 5 * 32 * 32)
    assert [len(some) for some in read_in_turn(taken, setting)] == [5, 5, 5, 3]
    monkeypatch.setattr(photographs, "_PIXELS_AT_ONCE", 1)
    assert [len(some) for some in read_in_turn(taken[:3], setting)] == [1, 1, 1]
