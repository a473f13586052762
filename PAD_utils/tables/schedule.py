"""All tasks of the tables, by Ray where it is installed, else one after the other; a failed one has a second try."""

import dataclasses
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

from tqdm import tqdm

from gaussian_splatting.progress import progress
from PAD_utils.errors import UserError
from PAD_utils.run.scale import gpu_count, has_ray, ray_cluster
from PAD_utils.tables.work import Task, record_failure, run_task

log = logging.getLogger(__name__)

TRIES = 2
_WAKE_S = 1.0  # how long a wait for Ray lasts at most, so that the display and Ctrl-C are answered


@dataclass(frozen=True)
class Needs:
    """What one task asks of a machine: GPUs (a fraction shares one), bytes of memory, and the cluster to find them in
    (None: this machine alone)."""

    gpus: float
    memory: int
    address: str | None = None


@dataclass
class _Board:
    """What is shown while tasks run, and how often each has been tried."""

    bar: tqdm
    failed: int = 0
    tries: dict[str, int] = field(default_factory=dict)

    def ended(self, task: Task, error: str | None) -> bool:
        """Takes note of the end of a try; returns whether there is to be another."""
        tries = self.tries[task.name] = self.tries.get(task.name, 0) + 1
        if error is None:
            self.bar.update()
            return False
        again = tries < TRIES
        log.warning("%s failed%s: %s", task.name, ", tried again" if again else "", error)
        if not again:
            self.failed += 1
            self.bar.update()
        return again

    def show(self, running: int) -> None:
        """The figures behind the bar."""
        self.bar.set_postfix_str(f"{running} running, {self.failed} failed", refresh=False)
        self.bar.update(0)


def run_tasks(tasks: Sequence[Task], needs: Needs) -> None:
    """Runs what is not done; how each ended is in its folder. Raises UserError when a cluster cannot be reached, or no
    machine of it is large enough."""
    todo = [task for task in tasks if not task.is_done()]
    log.info("%d of %d runs are done, %d to do", len(tasks) - len(todo), len(tasks), len(todo))
    if not todo:
        return
    with progress(desc="runs", total=len(tasks), initial=len(tasks) - len(todo)) as bar:
        board = _Board(bar)
        if not has_ray() and needs.address is None:
            log.warning(
                "Ray is not installed, so the runs are made one after the other, on one GPU; pip install --group scale "
                "lets them share all that the machine has"
            )
            return _one_after_the_other(todo, board)
        with ray_cluster(needs.address) as ray:
            _by_ray(ray, todo, needs, board)


def _one_after_the_other(tasks: Sequence[Task], board: _Board) -> None:
    queue = deque(tasks)
    while queue:
        board.show(1)
        task = queue.popleft()
        if board.ended(task, run_task(task)):
            queue.append(task)


def _by_ray(ray: ModuleType, tasks: Sequence[Task], needs: Needs, board: _Board) -> None:
    cores, slots = share_of_machine(ray.nodes(), needs)
    asks = {"num_cpus": cores, "num_gpus": needs.gpus, "memory": needs.memory}
    threads = {"OMP_NUM_THREADS": str(cores)}
    # No retries of Ray's own: a second try is ours to count. No worker serves twice: memory is given back for sure.
    remote = ray.remote(max_calls=1, max_retries=0, **asks)(run_task)

    def submitted(task: Task) -> tuple[object, Task]:
        return remote.remote(dataclasses.replace(task, environment=threads)), task

    running = dict(submitted(task) for task in tasks)
    while running:
        board.show(min(slots, len(running)))
        ready, _ = ray.wait(list(running), num_returns=1, timeout=_WAKE_S)
        for reference in ready:
            task = running.pop(reference)
            if board.ended(task, _result(ray, reference, task)):
                running.update([submitted(task)])


def _result(ray: ModuleType, reference: object, task: Task) -> str | None:
    """What the task returned, or what became of its worker."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        reason = str(error.cause).splitlines()[0]
    except ray.exceptions.RayError as error:
        reason = f"the worker died ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
    record_failure(task, reason)
    return reason


def share_of_machine(nodes: Sequence[dict], needs: Needs) -> tuple[int, int]:
    """(CPU cores for each task, tasks that run at once) on Ray's nodes: with GPUs the cores are shared evenly by those
    that fit the GPUs, without each task has one core. Raises UserError when no node can run even one."""
    each: list[tuple[int, int]] = []
    for node in (node["Resources"] for node in nodes if node["Alive"]):
        cores, fit = int(node.get("CPU", 0)), math.floor(node.get("memory", 0) / needs.memory)
        if needs.gpus:
            fit = min(fit, math.floor(node.get("GPU", 0) / needs.gpus))
        if fit and cores:
            each.append((max(1, cores // fit) if needs.gpus else 1, min(fit, cores)))
    if not each:
        gpus = f"{needs.gpus:g} GPUs and " if needs.gpus else ""
        raise UserError(
            f"no machine has the {gpus}{needs.memory / 1e9:.1f} GB of free memory that one run asks for; free some, "
            "shrink the pictures with --resolution, or name a larger cluster by --address"
            + ("; a cluster without GPUs takes --device cpu" if needs.gpus else "")
        )
    return min(cores for cores, _ in each), sum(fit for _, fit in each)


def default_gpus(device: str | None, address: str | None, share: float) -> float:
    """GPUs per task where nothing is said: none on a CPU, else `share` of one."""
    if device is not None and not device.startswith("cuda"):
        return 0.0
    return share if address or gpu_count() else 0.0
