"""What surrounds the work of a script: device, seed, logging, the result folder, and how an error reaches the user."""

import atexit
import contextlib
import functools
import io
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import cv2
import torch
from diff_gaussian_rasterization.cpu.loader import cpu_library
from tqdm.contrib.logging import logging_redirect_tqdm

from gaussian_splatting.parallel import check_room_for_threads
from PAD_utils.data.layout import check_classname
from PAD_utils.data.picture_cache import wait_until_kept
from PAD_utils.errors import UserError, one_line, outer_reason
from PAD_utils.files import read_json, write_json
from PAD_utils.run.config import RunConfig
from PAD_utils.run.ledger import Ledger

log = logging.getLogger(__name__)

USER_ERROR = 2  # the exit code of everything that the user can mend
_GPU = Path("/dev/nvidia0")
_LOGGERS = ("PAD_utils", "gaussian_splatting")
_DEVICES = ("cpu", "cuda")
_PACKAGES = ("torch", "torchvision", "numpy", "diff-gaussian-rasterization", "simple-knn")


@dataclass(frozen=True)
class Job:
    """One run under way: configuration, where it computes and writes, and what earlier tries have finished. The model
    and what is made once from it lie in the folder of the ledger, which inspections share."""

    config: RunConfig
    device: torch.device
    folder: Path
    ledger: Ledger
    started: float  # time.time(), which may be set back meanwhile
    warnings: list[str] = field(default_factory=list)  # all that has been logged as a warning, each once
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it was opened."""
        return time.monotonic() - self._began


def open_job(config: RunConfig) -> Job:
    """Chooses the device and reads what an earlier try has left in the result folder, which is made when there is
    something to write. Raises UserError when the class is a path, or the device or the model not there."""
    check_classname(config.classname)
    said = collect_warnings()
    device = choose_device(config.device)
    warn_of_fallbacks(config.device, device)
    wake(device)
    if config.model is not None and not config.model.is_dir():
        raise UserError(f"--model {config.model}: no such folder; name the result folder of a finished run")
    folder = _free_folder(config)
    log.info("%s, preset %s, on %s; results in %s", config.classname, config.preset, device_name(device), folder)
    return Job(config, device, folder, Ledger(config.model_folder), time.time(), said)


class _Collector(logging.Handler):
    """Keeps what our code warns of, for the report: whoever opens that has not seen the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (message := record.getMessage()) not in self.said:
            self.said.append(message)


def collect_warnings() -> list[str]:
    """A list that grows by every warning that our loggers get from now on, until the next call."""
    collector = _Collector()
    for logger in map(logging.getLogger, _LOGGERS):
        for earlier in [handler for handler in logger.handlers if isinstance(handler, _Collector)]:
            logger.removeHandler(earlier)
        logger.addHandler(collector)
    return collector.said


def _free_folder(config: RunConfig) -> Path:
    """The folder of the configuration; for an inspection with a number behind it where the folder holds one of other
    pictures of the same folder name."""
    folder, number = config.folder, 1
    while config.images is not None and _inspected(folder) not in (None, config.images.resolve()):
        number += 1
        folder = config.folder.with_name(f"{config.folder.name}_{number}")
    return folder


def _inspected(folder: Path) -> Path | None:
    """Which pictures the finished inspection in a folder looked at; None where there is none."""
    try:
        return Path(read_json(folder / "run.json")["inspected"])
    except (UserError, KeyError, TypeError):
        return None


def choose_device(name: str | None) -> torch.device:
    """The device of that name, or the first GPU, or the CPU. Raises UserError when a named one is not there."""
    if name is None:
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type not in _DEVICES:
            raise UserError(f"--device {name} is not supported; take one of {', '.join(_DEVICES)}, or leave it out")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {name} is not there ({str(error).splitlines()[0]}); leave it out to choose"
        ) from error
    return device


def wake(device: torch.device) -> None:
    """Opens a GPU on a thread of its own, which takes half a second, while pictures are read. Where that fails, whoever
    uses it first will say so."""

    def first_use() -> None:
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device=device)

    if device.type == "cuda":
        check_room_for_threads(1)
        threading.Thread(target=first_use, name="wake the GPU", daemon=True).start()


def warn_of_fallbacks(asked: str | None, device: torch.device) -> None:
    """Says what makes a run slow that the user may not know: a GPU that torch cannot use, kernels that are missing."""
    if asked is None and device.type == "cpu" and _GPU.exists():
        log.warning(
            "this machine has a GPU and PyTorch %s cannot use it, so the CPU works; install PyTorch for your driver, "
            "or say --device cpu",
            torch.__version__,
        )
    if device.type == "cpu" and cpu_library() is None:
        log.warning(
            "the compiled CPU kernels are missing, so a reference runs that is more than a hundred times slower; "
            "install a C++17 compiler (Debian: apt install g++) and this program again"
        )


def device_name(device: torch.device) -> str:
    """What a person calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} ({torch.get_num_threads()} threads)"


def write_run_json(job: Job, more: dict[str, Any]) -> dict[str, Any]:
    """Writes run.json: configuration, seed, versions, device, git commit, start and end. Returns what it wrote."""
    content = {
        "configuration": job.config.as_json(),
        "seed": job.config.seed,
        "versions": {
            "python": platform.python_version(),
            "opencv": cv2.__version__,  # several packages bring it
            **{name: _version(name) for name in _PACKAGES},
        },
        "device": device_name(job.device),
        "git_commit": git_commit(),
        **({"inspected": str(job.config.images.resolve())} if job.config.images else {}),
        "start": _iso(job.started),
        "end": _iso(time.time()),
        **more,
    }
    write_json(job.folder / "run.json", content)
    return content


def run_script(work: Callable[[], int | None], verbose: bool = False) -> int:
    """Runs `work` with logging set up and returns its exit code (None: 0); what the user can mend becomes one line on
    stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know fewer letters than file names have
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for ours in _LOGGERS:
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        with logging_redirect_tqdm():
            return work() or 0
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        print(f"error: the GPU's memory is full ({reason}); free some, or shrink with --resolution", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if (said := outer_reason(error)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return USER_ERROR


def leave(code: int) -> NoReturn:
    """Ends the process of a script, once decoded pictures are kept and what was registered for the end is done. Python
    and the GPU's driver would first take everything to pieces: 0.7 s for memory that the system takes back anyway."""
    wait_until_kept()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@functools.cache
def git_commit() -> str | None:
    """The commit of this checkout, with '+' when files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        status = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")
