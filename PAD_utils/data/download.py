"""What Google Drive holds for us: the MAD data sets and LoFTR's weights, fetched, checked and unpacked."""

import logging
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PAD_utils.data.mad import CLASSES
from PAD_utils.errors import UserError, short_reason
from PAD_utils.files import explaining

_log = logging.getLogger(__name__)
_SILENCE_S = 30.0  # on the line, not the whole download: it ends then, and the same command goes on from there


@dataclass(frozen=True)
class DriveFile:
    """A file on Google Drive, and what to do without it."""

    id: str
    name: str
    otherwise: str

    @property
    def url(self) -> str:
        """Where a browser can fetch it."""
        return f"https://drive.google.com/file/d/{self.id}/view"


_BY_HAND = "fetch it with a browser, unpack it, and give the folder with the classes by --data_path"
MAD_SIM = DriveFile("1XlW5v_PCXMH49RSKICkskKjd2A5YDMQq", "MAD-Sim.zip", _BY_HAND)
RETRIEVAL_MODELS = DriveFile(
    "16FOwaqQE0NGY-1EpfoNlU0cGlHjATV0V",
    "retrieval_model.zip",
    "fetch it with a browser and give its indoor_ds_new.ckpt by --loftr_weights, or choose another --retrieval",
)
LOFTR_CHECKPOINT = "indoor_ds_new.ckpt"


def fetch_mad_sim(data_path: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """Puts the classes of MAD-Sim (CC BY-NC-SA 4.0, about 1 GB) into `data_path`, unless they are there.

    Raises UserError when Google Drive cannot be reached, or when what arrived is not whole.
    """
    missing = [name for name in classes if not _is_class(data_path / name)]
    if not missing:
        return data_path
    _log.info("MAD-Sim is under CC BY-NC-SA 4.0: not for commercial use (https://github.com/EricLee0224/PAD)")
    with _fetched(MAD_SIM, data_path) as unpacked:
        found = {path.name: path for path in sorted(unpacked.rglob("*")) if path.name in missing and _is_class(path)}
        absent = [name for name in missing if name not in found]
        if absent:
            raise UserError(f"{MAD_SIM.url} lacks the classes {', '.join(absent)}; {MAD_SIM.otherwise}")
        for name, path in found.items():
            if (data_path / name).exists():  # what an interrupted copy left: no class, see above
                raise UserError(f"{data_path / name} is in the way and no whole class; move it away and start again")
            os.replace(path, data_path / name)
    return data_path


def fetch_retrieval_models(folder: Path) -> Path:
    """LoFTR's indoor checkpoint in `folder`, downloaded unless it is there. Raises as `fetch_mad_sim`."""
    checkpoint = folder / LOFTR_CHECKPOINT
    if checkpoint.is_file():
        return checkpoint
    with _fetched(RETRIEVAL_MODELS, folder) as unpacked:
        found = sorted(path for path in unpacked.rglob(LOFTR_CHECKPOINT) if path.is_file())
        if not found:
            raise UserError(f"{RETRIEVAL_MODELS.url} holds no {LOFTR_CHECKPOINT}; {RETRIEVAL_MODELS.otherwise}")
        os.replace(found[0], checkpoint)
    return checkpoint


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a zip, every file checked against its sum. Raises UserError if it is broken or reaches out of `into`."""
    try:
        with zipfile.ZipFile(archive) as content:
            for member in content.infolist():
                _check_member(archive, member, into)
            _check_room(archive, sum(member.file_size for member in content.infolist()))
            content.extractall(into)
    except (OSError, MemoryError, UserError):
        raise
    except Exception as error:  # zipfile and what it unpacks with raise nearly anything on damaged bytes
        raise UserError(f"{archive} is not a whole zip file ({error}); remove it and fetch it again") from error


def _check_member(archive: Path, member: zipfile.ZipInfo, into: Path) -> None:
    """Refuses links, and names that would land outside of `into`."""
    name = member.filename.replace("\\", "/")
    target = (into / name).resolve()
    outside = name.startswith("/") or not target.is_relative_to(into.resolve())
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{archive}: the entry {member.filename} would be written elsewhere; do not use this file")


def _check_room(archive: Path, needed: int) -> None:
    """Refuses what would fill the disk, before anything is written."""
    if needed > (free := shutil.disk_usage(archive.parent).free):
        raise UserError(f"{archive} unpacks to {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; free some space")


def _is_class(folder: Path) -> bool:
    return (folder / "transforms.json").is_file() and (folder / "train" / "good").is_dir()


@contextmanager
def _fetched(file: DriveFile, folder: Path) -> Iterator[Path]:
    """Downloads and unpacks a zip into a folder of its own within `folder`, removed in the end with the zip."""
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
    archive = folder / file.name
    if not archive.is_file():
        _download(file, archive)
    if not zipfile.is_zipfile(archive):
        archive.unlink()
        raise UserError(f"{file.url} gave no zip file (a page of Google's, or half a file); {file.otherwise}")
    with explaining(folder):
        workspace = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder))
    try:
        unpack(archive, workspace)
        yield workspace
        archive.unlink()
    except OSError as error:
        raise UserError(f"{archive} could not be unpacked ({error.strerror}); check the space in {folder}") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _download(file: DriveFile, archive: Path) -> None:
    """Fetches with gdown, which goes on with a partial download. Whatever the network does becomes one clear line."""
    try:
        import gdown
    except ImportError as error:
        raise UserError(f"downloading needs gdown ({error}); pip install gdown, or {file.otherwise}") from None
    _log.info("downloading %s to %s", file.url, archive)
    try:
        arrived = gdown.download(id=file.id, output=str(archive), quiet=False, resume=True, timeout=_SILENCE_S)
    except Exception as error:  # gdown lets through the errors of requests, of urllib3 and its own
        raise UserError(f"{file.url} could not be fetched ({short_reason(error)}); {file.otherwise}") from error
    if arrived is None or not archive.is_file():
        raise UserError(f"{file.url} could not be fetched; {file.otherwise}")
