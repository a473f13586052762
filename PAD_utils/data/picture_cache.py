"""Decoded pictures of a class, kept for the next run: reading them back takes a fraction of decoding PNG files."""

import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
import torch
from jaxtyping import UInt8
from torch import Tensor

from gaussian_splatting.files import replacing
from gaussian_splatting.parallel import check_room_for_threads, parallel
from PAD_utils.errors import UserError

WORTH_KEEPING = 64 << 20  # bytes; what is smaller is decoded in a blink
LIMIT_VARIABLE = "SPLATPOSE_CACHE_GB"
_SPARE = 4  # times a file's size that must be free on the disk before it is written
_ABANDONED_S = 3600  # since when nobody has written to a file that still has its temporary name
_WRITER = "splatpose picture cache"  # the name of the threads that write
_VERSION = 2  # part of the key: raise it when pictures are decoded or resampled in another way

_log = logging.getLogger(__name__)


def load_pictures(
    paths: Sequence[Path], size: tuple[int, int], decode: Callable[[Path], UInt8[Tensor, "h w 3"]], recipe: str = ""
) -> list[UInt8[Tensor, "h w 3"]]:
    """`decode(path)` for all paths, which gives pictures of `size` (width, height), in order.

    Kept in `cache_folder`, at most `limit_bytes` in all, under a key of the paths, sizes and times of the files and of
    the `recipe` that `decode` follows, so that what changed is decoded again, also when it got the old date. A cache
    that cannot be written or read is no error.
    """
    limit = limit_bytes()
    place = cache_folder() / f"{_key(paths, size, recipe)}.npy"
    kept = _read(place, (len(paths), size[1], size[0], 3))
    if kept is not None:
        return list(kept)
    pictures = parallel(decode, paths, "read pictures")
    if WORTH_KEEPING <= sum(picture.numel() for picture in pictures) <= limit:
        check_room_for_threads(1)
        writer = threading.Thread(target=_keep, args=(place, pictures, limit), name=_WRITER)
        writer.start()  # beside the work; an exit waits for it
    return pictures


def wait_until_kept() -> None:
    """Returns when all that was read is kept."""
    for thread in threading.enumerate():
        if thread.name == _WRITER:
            thread.join()


def cache_folder() -> Path:
    """Where decoded pictures of all classes lie."""
    return platformdirs.user_cache_path("splatpose")


def limit_bytes() -> float:
    """How much all of them together may take: 8 GB, or SPLATPOSE_CACHE_GB of the environment; with 0 none are kept.

    Raises UserError when that is no number.
    """
    given = os.environ.get(LIMIT_VARIABLE, "8")
    try:
        return 1e9 * float(given)
    except ValueError:
        raise UserError(f"{LIMIT_VARIABLE} is {given!r}; give a number of gigabytes, 0 to keep no pictures") from None


def _key(paths: Sequence[Path], size: tuple[int, int], recipe: str) -> str:
    digest = hashlib.sha256(f"{_VERSION} {size} {recipe}".encode())
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"\0{path.absolute()} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}".encode())
        except OSError:  # decoding will say what is wrong with it
            digest.update(f"\0{path} missing".encode())
    return digest.hexdigest()[:32]


def _read(place: Path, shape: tuple[int, ...]) -> UInt8[Tensor, "n h w 3"] | None:
    try:
        kept = np.load(place, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(kept) if kept.shape == shape and kept.dtype == np.uint8 else None


def _keep(place: Path, pictures: Sequence[Tensor], limit: float) -> None:
    size = sum(picture.numel() for picture in pictures)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_room(place.parent, limit - size)
        if shutil.disk_usage(place.parent).free < _SPARE * size:
            return
        with replacing(place) as temporary, temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(pictures), *pictures[0].shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for picture in pictures:
                file.write(picture.contiguous().numpy().data)
    except OSError as error:
        _log.debug("pictures not kept in %s: %s", place, error)


def _make_room(folder: Path, limit: float) -> None:
    """Removes the oldest files until the others take no more than `limit` bytes, and what a killed run was writing."""
    files = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda of: of[0].st_mtime_ns)
    total = sum(facts.st_size for facts, _ in files)
    for facts, path in files:
        if total > limit or (path.name.startswith(".") and time.time() - facts.st_mtime > _ABANDONED_S):
            total -= facts.st_size
            path.unlink(missing_ok=True)
