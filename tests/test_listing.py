"""What lies in a folder of pictures beside pictures."""

import logging
from pathlib import Path

import pytest

from PAD_utils.data.layout import list_class
from PAD_utils.data.listing import list_pictures, note_left_out, subfolders
from PAD_utils.data.mad import load_class
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
