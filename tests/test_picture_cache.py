"""Decoded pictures that wait for the next run."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from gaussian_splatting.images import read_image
from PAD_utils.data import picture_cache
from PAD_utils.data.picture_cache import cache_folder, load_pictures, wait_until_kept
from PAD_utils.errors import UserError

SIZE = (6, 4)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(picture_cache, "WORTH_KEEPING", 1)
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8))
    return paths


def load(files: list[Path]) -> tuple[Tensor, int]:
    """The pictures, and how many of them were decoded."""
    decoded: list[Path] = []

    def decode(path: Path) -> Tensor:
        decoded.append(path)
        return read_image(path)

    pictures = torch.stack(load_pictures(files, SIZE, decode))
    wait_until_kept()
    return pictures, len(decoded)


def test_the_second_run_decodes_nothing(files: list[Path]) -> None:
    first, decoded = load(files)
    again, decoded_again = load(files)
    assert (decoded, decoded_again) == (3, 0) and torch.equal(first, again)


def test_a_changed_file_is_decoded_again(files: list[Path]) -> None:
    load(files)
    cv2.imwrite(str(files[1]), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    os.utime(files[1], ns=(1, 1))
    pictures, decoded = load(files)
    assert decoded == 3 and not pictures[1].any()


def test_a_damaged_cache_is_made_again(files: list[Path]) -> None:
    first, _ = load(files)
    (kept,) = cache_folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    again, decoded = load(files)
    assert decoded == 3 and torch.equal(first, again) and load(files)[1] == 0


def test_the_oldest_make_room_and_small_classes_take_none(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    load(files)
    left = cache_folder() / ".left.12345678.tmp.npy"
    left.write_bytes(b"of a killed run")
    os.utime(left, (1, 1))
    monkeypatch.setenv("SPLATPOSE_CACHE_GB", "3e-7")
    load(files[:2])
    assert len(list(cache_folder().iterdir())) == 1 and load(files[:2])[1] == 0 and load(files)[1] == 3
    monkeypatch.setattr(picture_cache, "WORTH_KEEPING", 1 << 20)
    assert load(files[2:])[1] == 1 and load(files[2:])[1] == 1


def test_a_cache_that_cannot_be_written_is_no_error(files: list[Path]) -> None:
    cache_folder().parent.mkdir()
    cache_folder().write_text("a file where the folder should be")
    assert load(files)[1] == 3


def test_a_limit_of_zero_keeps_nothing_and_one_that_is_no_number_is_named(files: list[Path], monkeypatch) -> None:
    monkeypatch.setenv("SPLATPOSE_CACHE_GB", "0")
    assert load(files)[1] == 3 and load(files)[1] == 3 and not cache_folder().exists()
    monkeypatch.setenv("SPLATPOSE_CACHE_GB", "much")
    with pytest.raises(UserError, match="SPLATPOSE_CACHE_GB is 'much'; give a number"):
        load(files)
