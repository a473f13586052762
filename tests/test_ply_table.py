"""PLY files as tables, against the `plyfile` package."""

import time
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from gaussian_splatting.ply_table import read_tables, write_tables

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]


def table(count: int = 7) -> np.ndarray:
    rows = np.empty(count, [(f"a_{kind}", kind) for kind in TYPES])
    for k, name in enumerate(rows.dtype.names or ()):
        rows[name] = np.random.default_rng(k).integers(0, 100, count)
    rows["a_f4"] += np.float32(0.1)
    return rows


def test_plyfile_reads_what_is_written(tmp_path: Path) -> None:
    write_tables(tmp_path / "a.ply", {"vertex": table(), "other": table(2)[["a_u2", "a_f8"]]})
    read = PlyData.read(str(tmp_path / "a.ply"))
    assert (read["vertex"].data == table()).all()
    assert (read["other"].data["a_f8"] == table(2)["a_f8"]).all()


@pytest.mark.parametrize("kind", ["<", ">", "text"])
def test_what_plyfile_writes_is_read(tmp_path: Path, kind: str) -> None:
    faces = np.array([([0, 1, 2],), ([1, 2, 3],)], [("vertex_indices", "i4", (3,))])
    elements = [PlyElement.describe(table(), "vertex", comments=["of a part"]), PlyElement.describe(faces, "face")]
    order = "=" if kind == "text" else kind
    PlyData(elements, text=kind == "text", byte_order=order, comments=["ours"]).write(str(tmp_path / "a.ply"))
    read = read_tables(tmp_path / "a.ply")
    assert list(read) == ["vertex"]  # faces are lists
    assert read["vertex"].dtype == table().dtype and (read["vertex"] == table()).all()


def test_lists_before_the_table_end_the_reading(tmp_path: Path) -> None:
    faces = np.array([([0, 1, 2],)], [("vertex_indices", "i4", (3,))])
    PlyData([PlyElement.describe(faces, "face"), PlyElement.describe(table(), "vertex")]).write(str(tmp_path / "a.ply"))
    assert read_tables(tmp_path / "a.ply") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not begin"),
        (b"plx\n", "does not begin"),
        (b"ply\nformat ascii 1.0\nelement vertex 1", "cut short"),
        (b"ply\nelement vertex 0\nend_header\n", "names no format"),
        (b"ply\nformat ascii 2.0\nend_header\n", "format ascii 2.0"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "element vertex -1"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "property float x"),
        (b"ply\nformat ascii 1.0\nelement v 1\nproperty float x\nend_header\n", "does not hold 1 numbers"),
        (b"ply\nformat ascii 1.0\nelement v 1\nproperty float x\nend_header\nred\n", "could not convert"),
        (b"ply\nformat binary_little_endian 1.0\nelement v 2\nproperty float x\nend_header\n1234", "4 bytes where"),
        (b"ply\nformat ascii 1.0\n" + b"comment " + b"x" * 9000, "cut short"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_tables(tmp_path / "a.ply")


def test_a_count_that_the_file_does_not_hold_takes_no_time(tmp_path: Path) -> None:
    began = time.perf_counter()
    for properties, width in ((b"property float x\n", 1), (b"", 0)):
        header = b"ply\nformat ascii 1.0\nelement vertex 999999999999\n" + properties + b"end_header\n1\n"
        (tmp_path / "a.ply").write_bytes(header)
        with pytest.raises(ValueError, match=f"does not hold {width} numbers"):
            read_tables(tmp_path / "a.ply")
    assert time.perf_counter() - began < 5
