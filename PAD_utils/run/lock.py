"""One run at a time in a result folder: the files of two would be mixed, and nothing would say so."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from filelock import FileLock, Timeout

from gaussian_splatting.files import remove_leftovers
from PAD_utils.errors import UserError
from PAD_utils.files import explaining
from PAD_utils.run.config import INSPECTIONS, RunConfig
from PAD_utils.run.job import Job

NAME = ".lock"  # stays when the run has ended; the system lets go of it when its process dies, however it dies


@contextmanager
def hold_folders(job: Job) -> Iterator[None]:
    """Keeps other runs out of the job's folder, and out of that of the model when it may be trained, until the block
    ends. What killed runs had begun to write there is removed.

    Raises UserError when another run is at work there, or when the folder may not be written to.
    """
    with ExitStack() as held:
        for folder in sorted({job.folder, job.config.model_folder} if job.config.train else {job.folder}):
            with explaining(folder / NAME):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(folder / NAME, timeout=0))
            except Timeout:
                raise UserError(f"another run is at work in {folder}; {_mend(job.config)}") from None
        with explaining(job.folder):
            remove_leftovers(job.folder, apart_from=INSPECTIONS)
        yield


def _mend(config: RunConfig) -> str:
    if config.images is not None and config.train:
        return "wait until it ends, or inspect with the trained model, by -train 0"
    return "wait until it ends, or choose another folder with --output"
