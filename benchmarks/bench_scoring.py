"""Scores of one class, clean and disturbed: the paper's and ours on the same renderings, and the decisions of ours.

    python -m benchmarks.bench_scoring CLASS_FOLDER MODEL.ply --role reported --network backbones.py:MobileNetV2:w.npz

Without --network the weightless features are measured. A class is scored at true poses with an error like a refined
pose's. `--role` says whether settings were chosen on this class. Writes one JSON file per class, preset and network.
"""

import argparse
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.results_file import save_result
from benchmarks.scoring_pairs import DISTURBANCES, Case, Pairs, as_float, disturbed, load_case
from PAD_utils.evaluate.metrics import evaluate
from PAD_utils.run.job import choose_device
from PAD_utils.score.anomaly import ScoreConfig, Scores, score_pairs
from PAD_utils.score.calibration import as_fresh, calibrate
from PAD_utils.score.features import CallableFeatures, GradientFeatures
from PAD_utils.score.normality import Normality
from PAD_utils.score.pyramid import FeaturePyramid
from PAD_utils.score.usual import learn_normality

FALSE_ALARM_RATE = 0.01
ROLES = ("tuning", "reported")


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    trained_as = arguments.trained_as or device.type
    case = load_case(arguments.folder, arguments.model, arguments.cache, device, arguments.size, trained_as)
    pyramid = load_network(arguments.network, device) if arguments.network else GradientFeatures()
    learned = learn(pyramid, case, device, ScoreConfig.fast())
    figures: dict[str, Any] = {
        "class": case.name,
        "role": arguments.role,
        "features": pyramid.name,
        "width": case.test.queries.shape[2],
        "trained_as": trained_as,
        "unseen_over_seen": inflations(pyramid, case, device),
        "conditions": {},
    }
    for condition in ("clean", *DISTURBANCES, "all"):
        most = 0 if condition == "clean" else arguments.pictures
        pairs, queries = selected(*disturbed(case, condition), most)
        figures["conditions"][condition] = measure(pyramid, learned, pairs, queries, device)
        print(condition, json.dumps(figures["conditions"][condition]), flush=True)
        save_result(f"scoring_{case.name}_{trained_as}_{pyramid.name}", device, figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the class")
    parser.add_argument("model", type=Path, help="its PLY file; trained and written there if it is missing")
    parser.add_argument("--size", type=int, help="width of the pictures in pixels; as they are if left out")
    parser.add_argument("--trained_as", choices=("cpu", "cuda"), help="whose preset trains a missing model")
    parser.add_argument("--role", choices=ROLES, required=True)
    parser.add_argument("--network", help="FILE.py:CLASS:WEIGHTS, called with normalized images, returning maps")
    parser.add_argument(
        "--pictures", type=int, default=0, help="of each disturbance at most so many good and defective ones; 0: all"
    )
    parser.add_argument("--cache", type=Path, default=Path(".data/scoring"), help="folder for renderings")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def load_network(description: str, device: torch.device) -> FeaturePyramid:
    """A class from a file, constructed with the name of its weights."""
    path, name, weights = description.split(":")
    spec = importlib.util.spec_from_file_location("network", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, name)(weights).eval().to(device, memory_format=torch.channels_last)
    return CallableFeatures(name, lambda images: model(images.contiguous(memory_format=torch.channels_last))[:4])


class Learned(NamedTuple):
    """What good views taught, as in a job: normal residuals, the threshold, and the median of those held out."""

    normality: Normality
    threshold: float
    median_held_out: float


def learn(pyramid: FeaturePyramid, case: Case, device: torch.device, config: ScoreConfig) -> Learned:
    seen, held_out = on(case.seen, device), on(case.held_out, device)
    normality = learn_normality(pyramid, *held_out, config)
    scores = [score_pairs(pyramid, *x, config, normality).image_scores.cpu().numpy() for x in (seen, held_out)]
    calibration = calibrate(as_fresh(*scores), FALSE_ALARM_RATE, logarithms=config.normalized)
    return Learned(normality, calibration.threshold, float(np.median(scores[1])))


def inflations(pyramid: FeaturePyramid, case: Case, device: torch.device) -> dict[str, float]:
    """How much higher a view scores that training did not see, when normality was learned from views that it saw."""
    seen, fresh = on(case.seen, device), on(case.held_out, device)
    found = {}
    for name, config in (("paper", ScoreConfig.paper()), ("fast", ScoreConfig.fast())):
        normality = learn_normality(pyramid, *seen, config) if config.normalized else None
        medians = [score_pairs(pyramid, *x, config, normality).image_scores.median() for x in (fresh, seen)]
        found[name] = float(medians[0] / medians[1])
    return found


def on(pairs: Pairs, device: torch.device) -> tuple[Tensor, Tensor]:
    """Queries and renderings."""
    return as_float(pairs.queries).to(device), pairs.renderings.to(device).float()


def measure(
    pyramid: FeaturePyramid, learned: Learned, pairs: Pairs, queries: Tensor, device: torch.device
) -> dict[str, Any]:
    """Both scores of the pictures, and the decisions of ours, calibrated on clean good views."""
    both = queries.to(device), pairs.renderings.to(device).float()
    paper = on_cpu(score_pairs(pyramid, *both, ScoreConfig.paper()))
    ours = on_cpu(score_pairs(pyramid, *both, ScoreConfig.fast(), learned.normality))
    labels, alarms = np.array(pairs.labels), ours.image_scores.numpy() > learned.threshold
    return {
        "paper": metrics(paper, pairs),
        "fast": metrics(ours, pairs),
        "good": int((labels == 0).sum()),
        "defective": int(labels.sum()),
        "false_alarms": int(alarms[labels == 0].sum()),
        "misses": int((~alarms[labels == 1]).sum()),
        "test_over_held_out": float(ours.image_scores[labels == 0].median() / learned.median_held_out),
    }


def on_cpu(scores: Scores) -> Scores:
    return Scores(scores.maps.cpu(), scores.image_scores.cpu())


def selected(pairs: Pairs, queries: Tensor, pictures: int) -> tuple[Pairs, Tensor]:
    """At most so many good and so many defective pictures, evenly over the set; 0 takes all."""
    labels = np.array(pairs.labels)
    keep: list[int] = []
    for label in (0, 1):
        of_label = np.flatnonzero(labels == label)
        count = min(pictures or len(of_label), len(of_label))
        keep += list(of_label[np.linspace(0, len(of_label) - 1, count).round().astype(int)])
    return replace(
        pairs,
        renderings=pairs.renderings[keep],
        masks=[pairs.masks[i] for i in keep],
        labels=[pairs.labels[i] for i in keep],
        defects=[pairs.defects[i] for i in keep],
    ), queries[keep]


def metrics(scores: Scores, pairs: Pairs) -> dict[str, float]:
    found = evaluate(list(scores.maps.numpy()), pairs.masks, scores.image_scores.numpy(), pairs.labels, pairs.defects)
    return {name: found[name] for name in ("image_auroc", "pixel_auroc", "aupro")}


if __name__ == "__main__":
    main()
