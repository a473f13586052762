"""Ray, where it is installed: how work is spread over the GPUs of a machine, or over a cluster."""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar

import torch

from PAD_utils.errors import UserError

log = logging.getLogger(__name__)
_Worker, _Share, _Result = TypeVar("_Worker"), TypeVar("_Share"), TypeVar("_Result")
# Nothing is sent to Ray's makers, a worker that asks for no GPU still sees the machine's, as without Ray, and workers
# give way to other programs no more than a run without Ray does. None is started before it is needed: else one a core.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
}
_PATIENCE_S = 5.0


def has_ray() -> bool:
    """Whether Ray is installed."""
    return find_spec("ray") is not None


@contextmanager
def ray_cluster(address: str | None = None, gpus: int | None = None) -> Iterator[ModuleType]:
    """Ray, joined to the cluster at `address`, or with workers started on this machine that see `gpus` GPUs (None: all
    of them); at the end of the block the cluster is left, or the workers are ended.

    Raises UserError when Ray is not installed, or no cluster answers at the address.
    """
    if not has_ray():
        raise UserError("Ray is not installed; pip install --group scale, or: pip install ray")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    _check_answers(address)
    local: dict[str, Any] = (
        {} if address else {"include_dashboard": False, "num_gpus": gpu_count() if gpus is None else gpus}
    )
    _join(ray, address, local)
    try:
        yield ray
    finally:
        ray.shutdown()


def _join(ray: ModuleType, address: str | None, local: dict[str, Any]) -> None:
    """On a busy machine Ray's own processes may take longer than it waits for them: they have two more chances."""
    for last in (False, False, True):
        try:
            ray.init(address=address or "local", logging_level=logging.WARNING, **local)
            return
        except (ConnectionError, ValueError) as error:
            raise UserError(
                f"Ray cannot be reached at {address} ({str(error).splitlines()[0]}); a cluster that asks for a token "
                "needs RAY_AUTH_MODE=token here too (docs/reproduce.md)"
            ) from error
        except Exception as error:  # Ray raises no kind of its own
            ray.shutdown()
            if "timed out" not in str(error):
                raise
            if last:
                raise UserError("Ray did not start: this machine is too busy; try again when it is not") from error
            log.warning("Ray did not start in time, tried again: is this machine very busy?")


def streamed(
    ray: ModuleType,
    make: Callable[[], _Worker],
    work: Callable[[_Worker, _Share], Iterator[_Result]],
    shares: Sequence[_Share],
    needs: dict[str, int],
) -> Iterator[_Result]:
    """What `work(make(), share)` yields, one worker process for each share, as it comes from any of them. `needs`: of a
    worker, as Ray's options. A worker that dies is named in a warning; an error is raised once the others are done."""

    task = ray.remote(**needs)(_results)
    streams = [task.options(num_returns="streaming", max_retries=0).remote(make, work, share) for share in shares]
    while streams:
        (ready, *_), _ = ray.wait(streams)
        try:
            yield ray.get(next(ready))
        except StopIteration:
            streams.remove(ready)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            log.warning("a worker died: %s", str(error).splitlines()[0])
            streams.remove(ready)


def _results(
    make: Callable[[], _Worker], work: Callable[[_Worker, _Share], Iterator[_Result]], share: _Share
) -> Iterator[_Result]:
    yield from work(make(), share)


def _check_answers(address: str | None) -> None:
    """Raises UserError when nobody listens at HOST:PORT: Ray itself would try for five minutes."""
    host, _, port = (address or "").rpartition(":")
    if not port.isdecimal() or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE_S).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address} ({error}); start one with: ray start --head") from None


def gpu_count() -> int:
    """How many GPUs this process may use, on this machine."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
