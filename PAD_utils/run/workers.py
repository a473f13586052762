"""Who judges many photographs: this process, or with Ray one worker for each GPU."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gaussian_splatting.pose.types import Refiner
from PAD_utils.data.photographs import Photograph, QuerySetting
from PAD_utils.inspector import Inspector
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.photograph_judge import Found, PhotographJudge
from PAD_utils.run.scale import gpu_count, has_ray, ray_cluster, streamed
from PAD_utils.run.steps import INSPECTOR, features_of

log = logging.getLogger(__name__)
_WORTH_A_WORKER = 500  # photographs: a worker takes some 15 s to start


@dataclass(frozen=True)
class _Recipe:
    """What makes the same judge in another process, from the folder of the inspector."""

    config: RunConfig
    inspector: Path
    refiner: Refiner
    setting: QuerySetting
    maps: Path

    def __call__(self) -> PhotographJudge:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        pyramid = features_of(self.config, device)
        inspector = Inspector.load(self.inspector, pyramid, refiner=self.refiner, device=device)
        if inspector.calibration is not None:
            inspector.calibrate(self.config.false_alarm_rate)
        return PhotographJudge(inspector, self.setting, self.maps)


def by_all(job: Job, judge: PhotographJudge, photographs: Sequence[Photograph]) -> Iterator[Found]:
    """What `judge.judge` yields, in another order where there are several workers. What a worker that died had in hand
    is missing."""
    count = worker_count(job.config, len(photographs))
    if count < 2:
        yield from judge.judge(photographs)
        return
    log.info("%d workers, one for each GPU", count)
    folder = (job.ledger.folder / INSPECTOR).absolute()
    recipe = _Recipe(job.config, folder, judge.inspector.refiner, judge.setting, judge.maps.absolute())
    shares = [[p._replace(path=p.path.absolute()) for p in photographs[i::count]] for i in range(count)]
    needs = {"num_gpus": int(job.device.type == "cuda"), "num_cpus": max(1, (os.cpu_count() or 1) // count)}
    with ray_cluster(gpus=count * needs["num_gpus"]) as ray:
        yield from streamed(ray, recipe, PhotographJudge.judge, shares, needs)


def worker_count(config: RunConfig, photographs: int) -> int:
    """How many workers there should be; below 2 this process works alone."""
    if config.device is not None or config.retrieval == "loftr":  # LoFTR needs the training pictures
        return 1
    count = min(gpu_count(), photographs // _WORTH_A_WORKER)
    if count > 1 and not has_ray():
        log.info("%d GPUs are there and one is used; for all of them: pip install ray", gpu_count())
        return 1
    return count
