"""Decisions of the whole job, with poses that it finds itself, on a test set as it is and under disturbances.

    python -m benchmarks.bench_decision DATA_PATH CLASS --output FOLDER

Nothing is known but what a job knows: the threshold comes from good views as in train_and_render.py, and disturbed
pictures are localized anew. Writes benchmarks/results/decision_<class>_<device>_<features>.json.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_scoring import load_network
from benchmarks.results_file import save_result
from benchmarks.scoring_pairs import DISTURBANCES, disturbed_image
from PAD_utils.data.mad import Sample
from PAD_utils.evaluate.metrics import image_auroc
from PAD_utils.inspector import Inspector
from PAD_utils.run import steps
from PAD_utils.run.conclude import measure
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job, open_job
from PAD_utils.run.judge import judge
from PAD_utils.run.lock import hold_folders
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED
from PAD_utils.score.pyramid import FeaturePyramid

CONDITIONS = ("clean", *(name for name in DISTURBANCES if name != "light"))  # a light that turns has to be rendered


def main() -> None:
    arguments = parse()
    given = {name: getattr(arguments, name) for name in ("features", "weights", "output", "device")}
    job = open_job(RunConfig(arguments.classname, arguments.data_path, **given).resolved())
    pyramid = load_network(arguments.network, job.device) if arguments.network else steps.load_features(job)
    with hold_folders(job):
        figures = decisions(job, pyramid)
    print(save_result(f"decision_{arguments.classname}_{job.device.type}_{pyramid.name}", job.device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--features", help="as of train_and_render.py")
    parser.add_argument("--weights", type=Path, help="as of train_and_render.py")
    parser.add_argument("--network", help="FILE.py:CLASS:WEIGHTS, called with normalized images, returning maps")
    parser.add_argument("--output", type=Path, required=True, help="folder of the job, to go on from if it was cut off")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def decisions(job: Job, pyramid: FeaturePyramid) -> dict[str, Any]:
    """The figures of metrics.json that speak of scores and decisions, how many pictures are behind them, and wrong
    decisions under disturbances."""
    data = steps.load_views(job)
    model = steps.train_or_load(job, data.gallery, data.world)
    samples = steps.load_samples(job, data)
    inspector = steps.open_inspector(job, model, pyramid)
    poses = steps.localize_samples(job, model, inspector, samples)
    verdicts = judge(inspector, samples, poses)
    metrics, _ = measure(job, model, samples, poses, verdicts)
    shown = ("features", "image_auroc", "pixel_auroc", "aupro", "n_not_localised", "decision")
    return {
        "class": job.config.classname,
        "training_views": len(data.gallery),
        "good": sum(sample.label == 0 for sample in samples),
        "defective": sum(sample.label == 1 for sample in samples),
        **{name: metrics[name] for name in shown},
        "conditions": {name: disturbed_decisions(inspector, samples, name) for name in CONDITIONS},
    }


def disturbed_decisions(inspector: Inspector, samples: list[Sample], condition: str) -> dict[str, Any]:
    """How many good pictures are called defective and how many defective ones are not, each disturbed anew."""
    rng, active = np.random.default_rng(0), set() if condition == "clean" else {condition}
    no_normals = torch.zeros(0)  # of use to a change of light alone
    images = [torch.from_numpy(disturbed_image(s.image.numpy(), no_normals, active, rng)) for s in samples]
    verdicts, labels = inspector.inspect_many(images), np.array([sample.label for sample in samples])
    alarms = np.array([verdict.decision == DEFECT for verdict in verdicts])
    return {
        "image_auroc": image_auroc(np.array([verdict.score for verdict in verdicts]), labels).value,
        "false_alarms": int(alarms[labels == 0].sum()),
        "misses": int((~alarms[labels == 1]).sum()),
        "not_localized": sum(verdict.decision == NOT_LOCALISED for verdict in verdicts),
    }


if __name__ == "__main__":
    main()
