"""Weights from the net: whole and checked, or not there."""

import hashlib
from pathlib import Path

import pytest

from PAD_utils.score.features_torchvision import _download

CONTENT = bytes(range(256)) * 40


def test_weights_are_fetched_once_and_checked_by_the_sum_in_their_name(tmp_path: Path) -> None:
    source = tmp_path / "source.pth"
    source.write_bytes(CONTENT)
    place = tmp_path / "hub" / f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"
    _download(source.as_uri(), place)
    assert place.read_bytes() == CONTENT
    source.unlink()
    _download(source.as_uri(), place)  # it is there: nothing is asked for


def test_a_broken_download_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source.pth"
    source.write_bytes(CONTENT[:-1])
    place = tmp_path / "hub" / f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"
    with pytest.raises(OSError, match="SHA-256"):
        _download(source.as_uri(), place)
    with pytest.raises(OSError):
        _download((tmp_path / "gone.pth").as_uri(), place)
    assert not list(place.parent.iterdir())
