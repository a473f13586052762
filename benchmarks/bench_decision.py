"""The promised rate of false alarms held against the measured one: the whole job, with poses that it finds itself.

    python -m benchmarks.bench_decision DATA_PATH CLASS --network backbones.py:MobileNetV2:w.npz --output FOLDER

Nothing is known but what a job knows: the threshold comes from good views as in train_and_render.py. Writes
benchmarks/results/decision_<class>_<device>_<network>.json.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.bench_scoring import load_network
from benchmarks.results_file import save_result
from PAD_utils.run import steps
from PAD_utils.run.conclude import measure
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job, open_job
from PAD_utils.run.judge import judge
from PAD_utils.run.lock import hold_folders
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.pyramid import FeaturePyramid


def main() -> None:
    arguments = parse()
    config = RunConfig(arguments.classname, arguments.data_path, output=arguments.output, device=arguments.device)
    job = open_job(config.resolved())
    pyramid = load_network(arguments.network, job.device) if arguments.network else GradientFeatures()
    with hold_folders(job):
        figures = decisions(job, pyramid)
    print(save_result(f"decision_{arguments.classname}_{job.device.type}_{pyramid.name}", job.device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--network", help="FILE.py:CLASS:WEIGHTS, called with normalized images, returning maps")
    parser.add_argument("--output", type=Path, required=True, help="folder of the job, to go on from if it was cut off")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def decisions(job: Job, pyramid: FeaturePyramid) -> dict[str, Any]:
    """The figures of metrics.json that speak of scores and decisions, and how many pictures are behind them."""
    data = steps.load_views(job)
    model = steps.train_or_load(job, data.gallery, data.world)
    samples = steps.load_samples(job, data)
    inspector = steps.open_inspector(job, model, data.gallery, pyramid)
    poses = steps.localize_samples(job, model, data.gallery, inspector, samples)
    verdicts = judge(inspector, samples, poses)
    metrics, _ = measure(job, model, samples, poses, verdicts)
    shown = ("features", "image_auroc", "pixel_auroc", "aupro", "n_not_localised", "decision")
    return {
        "class": job.config.classname,
        "training_views": len(data.gallery),
        "good": sum(sample.label == 0 for sample in samples),
        "defective": sum(sample.label == 1 for sample in samples),
        **{name: metrics[name] for name in shown},
    }


if __name__ == "__main__":
    main()
