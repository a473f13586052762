import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from PAD_utils.data.masks import read_mask
from PAD_utils.errors import UserError
from PAD_utils.evaluate.__main__ import main
from PAD_utils.evaluate.maps import (
    TABLE_COLUMNS,
    ImageRow,
    map_path,
    read_map,
    read_table,
    write_map,
    write_table,
)
from PAD_utils.evaluate.metrics import evaluate


def _tiff_tags(path: Path) -> dict[int, int]:
    """The numbers of a TIFF's first directory: an own reader, so that OpenCV does not vouch for itself."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    tags = {}
    for i in range(count):
        tag, kind, _ = struct.unpack_from("<HHI", content, start + 2 + 12 * i)
        tags[tag] = struct.unpack_from("<H" if kind == 3 else "<I", content, start + 10 + 12 * i)[0]
    return tags


def test_maps_are_plain_gray_float_tiffs(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=(13, 27)).astype(np.float32)
    path = map_path(tmp_path, "Burrs", "3")
    write_map(path, scores)
    assert path == tmp_path / "Burrs" / "3.tiff"
    tags = _tiff_tags(path)
    assert (tags[256], tags[257]) == (27, 13)
    assert (tags[258], tags[339], tags[259], tags[277], tags[262]) == (32, 3, 1, 1, 1)  # 32-bit IEEE, raw, 1 channel
    stored = np.frombuffer(path.read_bytes(), "<f4", 13 * 27, tags[273])
    assert (stored.reshape(13, 27) == scores).all()
    assert (read_map(path) == scores).all() and read_map(path).dtype == np.float32


def test_other_tiffs_are_read_and_keep_their_precision(tmp_path: Path) -> None:
    double = 1 + 1e-12 * np.arange(12.0).reshape(3, 4)
    cv2.imwrite(str(tmp_path / "double.tiff"), double)
    assert (read_map(tmp_path / "double.tiff") == double).all()
    cv2.imwrite(str(tmp_path / "bytes.tiff"), np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert (read_map(tmp_path / "bytes.tiff") == np.arange(12).reshape(3, 4)).all()


def test_maps_that_are_no_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN"):
        write_map(tmp_path / "x.tiff", np.full((2, 2), np.nan, np.float32))
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"x\.tiff is missing"):
        read_map(tmp_path / "x.tiff")
    (tmp_path / "cut.tiff").write_bytes(b"II*\0")
    (tmp_path / "empty.tiff").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "color.tiff"), np.zeros((2, 2, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "nan.tiff"), np.full((2, 2), np.nan, np.float32))
    for name, message in (
        ("cut", "not a complete"),
        ("empty", "not a complete"),
        ("color", "3 channels"),
        ("nan", "NaN"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.tiff.*{message}"):
            read_map(tmp_path / f"{name}.tiff")


def test_any_value_above_zero_of_a_mask_is_anomalous(tmp_path: Path) -> None:
    marks = np.zeros((4, 5), np.uint8)
    marks[1, 2], marks[3, 4] = 1, 255
    color = np.dstack((marks, np.zeros_like(marks), np.zeros_like(marks)))
    opaque = np.dstack((color, np.full_like(marks, 255)))
    for picture in (marks, marks.astype(np.uint16), color, opaque):
        cv2.imwrite(str(tmp_path / "mask.png"), picture)
        assert (read_mask(tmp_path / "mask.png") == (marks > 0)).all()


def test_the_table_reads_back(tmp_path: Path) -> None:
    rows = [
        ImageRow("Burrs", "3", 1, 0.1 + 0.2, "DEFECT", 0.25),
        ImageRow("good", 'a "b", c', 0, 1e-7, "OK", 0.5),
        ImageRow("photos", "Motor 1", None, None, "NOT LOCALISED", 1.0),
    ]
    write_table(tmp_path / "images.csv", rows)
    lines = (tmp_path / "images.csv").read_text().splitlines()
    assert lines[0] == "defect,name,label,score,decision,seconds"
    assert lines[1] == "Burrs,3,1,0.30000000000000004,DEFECT,0.25" and lines[3].startswith("photos,Motor 1,,,NOT")
    assert read_table(tmp_path / "images.csv") == rows


def test_every_column_is_documented() -> None:
    described = (Path(__file__).parents[1] / "docs" / "outputs.md").read_text("utf-8")
    assert all(f"\n| `{column}` |" in described for column in TABLE_COLUMNS)


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    with pytest.raises(UserError, match=r"images\.csv is missing"):
        read_table(path)
    path.write_text("defect,name,label\n")
    with pytest.raises(UserError, match="lacks the column score"):
        read_table(path)
    path.write_text("defect,name,label,score\nBurrs,1,1,high\n")
    with pytest.raises(UserError, match="line 2: could not convert"):
        read_table(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Maps and ground truth of 2 good and 4 defective images; both spellings of mask names."""
    rng = np.random.default_rng(7)
    maps, truth = tmp_path / "maps", tmp_path / "ground_truth"
    for defect, spelling in (("good", None), ("Burrs", "{}_mask.png"), ("Stains", "{}.png")):
        for name in ("2", "10"):
            mask = np.zeros((16, 20), np.uint8)
            if spelling:
                mask[4:7, 5:9] = 255
                (truth / defect).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(truth / defect / spelling.format(name)), mask)
            write_map(map_path(maps, defect, name), (rng.random((16, 20)) + mask / 200).astype(np.float32))
    return maps, truth


def test_command_evaluates_folders(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    maps, truth = folders
    assert main([str(maps), str(truth), "--json", str(tmp_path / "out.json")]) == 0
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "out.json").read_text())
    names = [(d, n) for d in ("Burrs", "Stains", "good") for n in ("2", "10")]
    scores = [read_map(map_path(maps, d, n)) for d, n in names]
    mask = np.zeros((16, 20), bool)
    mask[4:7, 5:9] = True
    kinds = [d for d, _ in names]
    expected = evaluate(scores, [mask] * 4 + [None] * 2, [m.max() for m in scores], [1, 1, 1, 1, 0, 0], kinds)
    assert result == json.loads(json.dumps(expected))
    assert f"{100 * expected['aupro']:.2f}" in table.splitlines()[-1] and "Stains" in table


def test_command_takes_image_scores_from_a_table(folders: tuple[Path, Path], tmp_path: Path) -> None:
    maps, truth = folders
    order = [("good", "2"), ("good", "10"), ("Burrs", "2"), ("Burrs", "10"), ("Stains", "2"), ("Stains", "10")]
    rows = [ImageRow(d, n, None, float(i == 0), None, 0.0) for i, (d, n) in enumerate(order)]
    write_table(tmp_path / "images.csv", rows)
    arguments = [str(maps), str(truth), "--scores", str(tmp_path / "images.csv"), "--json", str(tmp_path / "o.json")]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "o.json").read_text())["image_auroc"] == 0.25  # one good beats all, one ties with all
    write_table(tmp_path / "images.csv", rows[1:])
    assert main(arguments) == 2


def test_wrong_folders_end_in_one_line_and_code_2(folders: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    maps, truth = folders

    def message(*arguments: Path) -> str:
        assert main([str(a) for a in arguments]) == 2
        text = capsys.readouterr().err
        assert text.startswith("error: ") and text.count("\n") == 1
        return text

    assert "is no folder" in message(maps / "nowhere", truth)
    assert "holds no maps" in message(truth, truth)
    write_map(maps / "Burrs" / "2.tiff", np.zeros((8, 10), np.float32))
    assert "2.tiff is 10x8 pixels and its mask" in message(maps, truth)
    (maps / "Burrs" / "2.tiff").unlink()
    assert "2.tiff is missing, but its mask" in message(maps, truth)
    (truth / "Burrs" / "2_mask.png").unlink()
    write_map(maps / "Burrs" / "2.tiff", np.zeros((16, 20), np.float32))
    assert "2_mask.png is missing" in message(maps, truth)


def test_only_good_images_have_undefined_metrics(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "only" / "good").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    write_map(tmp_path / "only" / "good" / "1.tiff", np.zeros((4, 4), np.float32))
    assert main([str(tmp_path / "only"), str(tmp_path / "empty")]) == 0
    assert "image AUROC is undefined: no defective image" in capsys.readouterr().out


def test_the_module_runs(folders: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "PAD_utils.metrics", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0 and "AUPRO" in done.stdout
    assert subprocess.run([*command, "--limit", "0"], capture_output=True, check=False).returncode == 2
