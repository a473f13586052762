import errno
import math
from pathlib import Path

import pytest

from gaussian_splatting.files import remove_leftovers
from PAD_utils.errors import UserError
from PAD_utils.files import atomic_path, read_json, write_json, write_text


def test_a_file_appears_whole_and_its_folder_with_it(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.tiff"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".tiff"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="killed"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    writing = atomic_path(tmp_path / "maps" / "2.tiff")
    writing.__enter__().write_text("half")
    names = ("2.tiff", ".2.tiff", ".2.tmp.tiff", "2.0123abcd.tmp.tiff")
    for name in names:
        (tmp_path / "maps" / name).write_text("mine")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted((*names, "maps"))


def test_a_full_disk_is_one_clear_line_that_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(UserError, match=r"a\.txt.*disk is full"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_where_a_folder_should_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("in the way")
    with pytest.raises(UserError, match=r"a\.txt could not be written \(File exists\)"):
        write_text(tmp_path / "maps" / "a.txt", "text")


def test_another_os_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), atomic_path(tmp_path / "a.txt"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        pass


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_json_refuses_nan(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match=r"metrics\.json"):
        write_json(tmp_path / "metrics.json", {"a": [bad]})
    assert not list(tmp_path.iterdir())


def test_json_comes_back(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "ä": "ö"}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


def test_unreadable_json_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")
    write_text(tmp_path / "cut.json", '{"a": [1,')
    with pytest.raises(UserError, match=r"cut\.json is not valid JSON"):
        read_json(tmp_path / "cut.json")
