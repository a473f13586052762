"""One run at a time in a result folder: the files of two would be mixed, and nothing would say so."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gaussian_splatting.files import remove_leftovers
from PAD_utils.errors import UserError
from PAD_utils.files import explaining
from PAD_utils.run.config import INSPECTIONS, RunConfig
from PAD_utils.run.job import Job

NAME = ".lock"  # stays when the run has ended; the system lets go of it when its process dies, however it dies


_OTHER_FOLDER = "wait until it ends, or choose another folder with --output"


@contextmanager
def hold_folders(job: Job) -> Iterator[None]:
    """Keeps other runs out of the job's folder, and out of that of the model when it may be trained, until the block
    ends; a model that is only used may be used by others meanwhile, but not trained. What killed runs had begun to
    write there is removed.

    Raises UserError when another run is at work there, or when the folder may not be written to.
    """
    config, model_folder = job.config, job.config.model_folder
    with ExitStack() as held:
        if not config.train and job.folder != model_folder and model_folder.is_dir():
            held.enter_context(_shared(model_folder, _mend(config)))
        for folder in sorted({job.folder, model_folder} if config.train else {job.folder}):
            held.enter_context(hold_folder(folder, _mend(config)))
        with explaining(job.folder):
            remove_leftovers(job.folder, apart_from=INSPECTIONS)
        yield


@contextmanager
def hold_folder(folder: Path, mend: str = _OTHER_FOLDER) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it until the block ends. Raises UserError, which names the mend,
    when another run is at work there, or when the folder may not be written to."""
    with explaining(folder / NAME):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(folder / NAME, timeout=0))
        except Timeout:
            raise UserError(f"another run is at work in {folder}; {mend}") from None
        yield


@contextmanager
def _shared(folder: Path, mend: str) -> Iterator[None]:
    """Keeps those out who would train the model in a folder; others may use it too. Where nothing can be written,
    nobody can train either."""
    try:
        import fcntl

        lock = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except (ImportError, OSError):  # Windows knows no such lock
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_leftovers(folder, apart_from=INSPECTIONS)  # nobody else is there just now
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another run is at work in {folder}; {mend}") from None
        yield
    finally:
        os.close(lock)


def _mend(config: RunConfig) -> str:
    if config.images is not None and config.train:
        return "wait until it ends, or inspect with the trained model, by -train 0"
    return _OTHER_FOLDER
