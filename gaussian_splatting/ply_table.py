"""PLY files as NumPy tables: what a model needs of the format (G. Turk, "The PLY Polygon File Format", 1994).

The `plyfile` package reads more of it, but is GPL-3.0, which users who ship our program on could not take along, and
takes seconds for a file that must not be mapped into memory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.recfunctions import repack_fields

_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_NAMES = {  # of a type: the usual one, and the one with its size
    "i1": ("char", "int8"),
    "u1": ("uchar", "uint8"),
    "i2": ("short", "int16"),
    "u2": ("ushort", "uint16"),
    "i4": ("int", "int32"),
    "u4": ("uint", "uint32"),
    "f4": ("float", "float32"),
    "f8": ("double", "float64"),
}
_TYPES = {name: kind for kind, names in _NAMES.items() for name in names}
_LONGEST_LINE = 4096  # bytes of a line of the header


def write_tables(path: Path | str, tables: Mapping[str, np.ndarray]) -> None:
    """Writes one element per structured array, by name, little-endian."""
    header = ["ply", "format binary_little_endian 1.0"]
    for element, table in tables.items():
        header.append(f"element {element} {len(table)}")
        for name in table.dtype.names or ():
            header.append(f"property {_NAMES[table.dtype[name].str[1:]][0]} {name}")
    with Path(path).open("wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode())
        for table in tables.values():
            packed = repack_fields(table)  # of some columns NumPy keeps the gaps
            file.write(packed.astype(packed.dtype.newbyteorder("<")).tobytes())


def read_tables(path: Path | str) -> dict[str, np.ndarray]:
    """The elements of a file, by name, as structured arrays: those before the first that holds lists (faces, say).

    They are read into memory, not mapped: a file that another program shortens meanwhile would kill this one. Raises
    OSError, and ValueError for what is no PLY file or is cut short.
    """
    with Path(path).open("rb") as file:
        order, elements = _header(file)
        tables = {}
        for name, count, fields in elements:
            if fields is None:
                break
            dtype = np.dtype([(field, order + kind) for field, kind in fields])
            tables[name] = _text_rows(file, count, dtype) if order == "=" else _rows(file, count, dtype)
        return tables


_Element = tuple[str, int, list[tuple[str, str]] | None]  # name, rows, its columns and their types; None: has lists


def _header(file: BinaryIO) -> tuple[str, list[_Element]]:
    """The byte order, and what follows the header."""
    if file.readline(_LONGEST_LINE).strip() != b"ply":
        raise ValueError("it does not begin with 'ply'")
    order, elements = "", list[_Element]()
    while (words := _words(file)) != ["end_header"]:
        match words:
            case ["comment" | "obj_info", *_]:
                pass
            case ["format", kind, "1.0"] if kind in _ORDERS:
                order = _ORDERS[kind]
            case ["element", name, count] if count.isdecimal():
                elements.append((name, int(count), []))
            case ["property", "list", *_] if elements:
                elements[-1] = (*elements[-1][:2], None)
            case ["property", kind, name] if elements and kind in _TYPES:
                if elements[-1][2] is not None:
                    elements[-1][2].append((name, _TYPES[kind]))
            case _:
                raise ValueError(f"its header has a line '{' '.join(words)[:80]}'")
    if not order:
        raise ValueError("its header names no format")
    return order, elements


def _words(file: BinaryIO) -> list[str]:
    line = file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise ValueError("its header is cut short")
    return line.decode("ascii").split()


def _rows(file: BinaryIO, count: int, dtype: np.dtype) -> np.ndarray:
    content = file.read(min(count * dtype.itemsize, _rest(file)))
    if len(content) < count * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes where {count} rows of {dtype.itemsize} should be")
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))


def _rest(file: BinaryIO) -> int:
    """Bytes that are left of the file: a damaged count must not ask for memory."""
    return os.fstat(file.fileno()).st_size - file.tell()


def _text_rows(file: BinaryIO, count: int, dtype: np.dtype) -> np.ndarray:
    rows, width = [], len(dtype.names or ())
    for _ in range(count):
        row = tuple(file.readline().split())
        if not row or len(row) != width:
            raise ValueError(f"a row does not hold {width} numbers")
        rows.append(row)
    return np.array(rows, dtype)
