"""Names that meet, and files in other spellings, in the folders that `python -m PAD_utils.evaluate` reads."""

import os
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from PAD_utils.errors import UserError
from PAD_utils.evaluate.__main__ import evaluate_folder, list_maps
from PAD_utils.evaluate.maps import ImageRow, read_table, write_map, write_table

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A good and a defective map of 8x8 pixels, and the mask of the latter."""
    maps, truth = tmp_path / "maps", tmp_path / "ground_truth"
    scores = np.zeros((8, 8), np.float32)
    write_map(maps / "good" / "0.tiff", scores)
    scores[2:4, 2:4] = 1
    write_map(maps / "Burrs" / "0.tiff", scores)
    (truth / "Burrs").mkdir(parents=True)
    cv2.imwrite(str(truth / "Burrs" / "0_mask.png"), (255 * scores).astype(np.uint8))
    return maps, truth


def table(path: Path, *more: ImageRow) -> Path:
    rows = [ImageRow("good", "0", 0, 0.1, None, 0.0), ImageRow("Burrs", "0", 1, 0.9, None, 0.0)]
    write_table(path, [*rows, *more])
    return path


@pytest.mark.parametrize("other", ["0.tif", "0.TIFF"])
def test_a_map_counted_twice_is_refused(folders: tuple[Path, Path], other: str) -> None:
    shutil.copy(folders[0] / "Burrs" / "0.tiff", folders[0] / "Burrs" / other)
    with pytest.raises(UserError, match=r"0\.tif.* both go by the name Burrs/0"):
        list_maps(*folders)


@pytest.mark.parametrize(("map_name", "mask_name"), [(NFC, NFD), (NFD, NFC), ("A", "a")])
def test_a_mask_is_found_in_any_spelling(folders: tuple[Path, Path], map_name: str, mask_name: str) -> None:
    maps, truth = folders
    os.rename(maps / "Burrs" / "0.tiff", maps / "Burrs" / f"{map_name}.tiff")
    os.rename(truth / "Burrs" / "0_mask.png", truth / "Burrs" / f"{mask_name}_mask.png")
    assert evaluate_folder(maps, truth)["aupro"] == 1


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif", ".PNG"])
def test_masks_of_other_formats_count(folders: tuple[Path, Path], suffix: str) -> None:
    path = folders[1] / "Burrs" / "0_mask.png"
    mask = Image.open(path)
    path.unlink()
    mask.save(path.with_suffix(suffix), quality=100)
    assert evaluate_folder(*folders)["pixel_auroc"] == 1


def test_a_mask_of_another_format_without_its_map_is_named(folders: tuple[Path, Path]) -> None:
    Image.new("L", (8, 8)).save(folders[1] / "Burrs" / "7.bmp")
    with pytest.raises(UserError, match="Burrs/7.* is missing"):
        evaluate_folder(*folders)


def test_two_masks_of_one_map_are_refused(folders: tuple[Path, Path]) -> None:
    shutil.copy(folders[1] / "Burrs" / "0_mask.png", folders[1] / "Burrs" / "0.png")
    with pytest.raises(UserError, match=r"both go by the name Burrs/0"):
        evaluate_folder(*folders)


def test_good_folders_of_other_names_hold_good_pictures(folders: tuple[Path, Path]) -> None:
    os.rename(folders[0] / "good", folders[0] / "good_light")
    assert evaluate_folder(*folders)["image_auroc"] == 1


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path, mark: str, newline: str) -> None:
    path = table(tmp_path / "images.csv")
    path.write_bytes((mark + path.read_text().replace("\n", newline)).encode())
    assert [row.score for row in read_table(path)] == [0.1, 0.9]


def test_a_picture_twice_in_the_table_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = table(tmp_path / "images.csv", ImageRow("Burrs", "0", 1, 0.2, None, 0.0))
    with pytest.raises(UserError, match="Burrs/0 twice"):
        evaluate_folder(*folders, scores)


def test_a_row_without_a_map_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = table(tmp_path / "images.csv", ImageRow("Stains", "4", 1, 0.2, None, 0.0))
    with pytest.raises(UserError, match="Stains/4.* no map"):
        evaluate_folder(*folders, scores)


def test_a_table_in_another_normal_form_fits(folders: tuple[Path, Path], tmp_path: Path) -> None:
    maps, truth = folders
    os.rename(maps / "Burrs" / "0.tiff", maps / "Burrs" / f"{NFC}.tiff")
    os.rename(truth / "Burrs" / "0_mask.png", truth / "Burrs" / f"{NFC}.png")
    write_table(
        tmp_path / "t.csv", [ImageRow("good", "0", 0, 0.9, None, 0.0), ImageRow("Burrs", NFD, 1, 0.1, None, 0.0)]
    )
    assert evaluate_folder(maps, truth, tmp_path / "t.csv")["image_auroc"] == 0


@pytest.mark.parametrize("label", ["0", "2", "yes"])
def test_a_label_that_contradicts_its_folder_is_refused(folders: tuple[Path, Path], tmp_path: Path, label: str) -> None:
    path = table(tmp_path / "images.csv")
    path.write_text(path.read_text().replace("Burrs,0,1", f"Burrs,0,{label}"))
    with pytest.raises(UserError, match=r"images\.csv"):
        evaluate_folder(*folders, path)
