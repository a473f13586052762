"""Structure from motion on a dozen neighboring photographs of the embedded set, against its true poses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import prepare_photos
from PAD_utils.errors import UserError
from PAD_utils.photos import sfm
from PAD_utils.photos.background import copy_masks
from PAD_utils.photos.sfm import solve
from PAD_utils.photos.source import copy_photos

pycolmap = pytest.importorskip("pycolmap")
SET = Path(__file__).parent.parent / "assets" / "demo" / "01Photo"


def test_neighboring_photographs_are_registered_where_they_were_taken(tmp_path: Path) -> None:
    photos = copy_photos(sorted((SET / "photos").glob("*.jpg"))[20:32], tmp_path / "photos", 1600)
    found = solve(photos, tmp_path / "sfm", "SIMPLE_RADIAL")
    assert len(found.posed) >= 11 and found.how == "default SIFT" and found.error_px < 1
    frames = json.loads((SET / "truth.json").read_text())["frames"]
    truth = [
        np.array(frames[f"photos/{p.photo.name}"]["transform_matrix"]) @ np.diag([1.0, -1, -1, 1]) for p in found.posed
    ]
    errors = []
    for a, b in zip(range(len(truth) - 1), range(1, len(truth)), strict=True):
        told = found.posed[b].cam_from_world[:3, :3] @ found.posed[a].cam_from_world[:3, :3].T
        true = truth[b][:3, :3].T @ truth[a][:3, :3]
        errors.append(np.degrees(np.arccos(np.clip((np.trace(told @ true.T) - 1) / 2, -1, 1))))
    assert max(errors) < 1.0
    again = solve(photos, tmp_path / "sfm", "SIMPLE_RADIAL")  # goes on from the features that are there
    database = pycolmap.Database.open(tmp_path / "sfm" / "0" / "database.db")
    assert (database.num_cameras(), database.num_images()) == (1, 12) and len(again.posed) >= 11


def test_photographs_that_show_nothing_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), np.full((90, 120, 3), 128, np.uint8))
    assert prepare_photos.main([str(tmp_path / "photos"), "--out", str(tmp_path / "data"), "-c", "01Part"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: no 3 of the 4 photographs fit together") and "newspaper" in error
    assert not (tmp_path / "data" / "01Part").exists()


def test_where_too_few_fit_together_features_are_looked_for_inside_of_the_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that does not turn with the part misleads; the strong options come last."""
    photos = copy_photos(sorted((SET / "photos").glob("*.jpg"))[20:23], tmp_path / "photos", 1600)
    masks = copy_masks(SET / "masks", photos, tmp_path / "masks")
    tried, outside = [], {}

    def nothing_fits(_: object, database: Path, *__: object) -> list[object]:
        tried.append(database.parent.name)
        outside[tried[-1]] = features_outside(database, masks)
        return []

    monkeypatch.setattr(sfm, "_map", nothing_fits)
    monkeypatch.setattr(sfm, "_match", lambda *_: None)
    with pytest.raises(UserError, match="no 3 of the 3"):
        solve(photos, tmp_path / "sfm", "SIMPLE_RADIAL", masks)
    assert tried == ["0", "1", "2"] and outside["0"] > 100 and outside["1"] == 0 and outside["2"] > outside["0"]


def features_outside(database: Path, masks: Path) -> int:
    """How many features of all pictures lie outside of their masks."""
    with pycolmap.Database.open(database) as opened:
        found = 0
        for image in opened.read_all_images():
            mask = cv2.imread(str(masks / f"{image.name}.png"), cv2.IMREAD_GRAYSCALE)
            columns, rows = opened.read_keypoints(image.image_id)[:, :2].astype(int).T
            found += int((mask[rows, columns] == 0).sum())
    return found
