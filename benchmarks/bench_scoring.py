"""Scores under disturbances: the paper's and ours on the same renderings, and the promised rate of false alarms.

    python -m benchmarks.bench_scoring CLASS_FOLDER=MODEL.ply ... --network backbones.py:MobileNetV2:weights.npz

Without --network the weightless features are measured. A class is scored at true poses with an error like a refined
pose's. Figures are added to benchmarks/results/scoring.json under the features' name.
"""

import argparse
import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.results_file import RESULTS, save_result
from benchmarks.scoring_pairs import DISTURBANCES, Case, Pairs, as_float, disturbed, load_case
from PAD_utils.anomaly import ScoreConfig, Scores, learn_normality, score_pairs
from PAD_utils.calibration import calibrate
from PAD_utils.features import CallableFeatures, FeaturePyramid, GradientFeatures
from PAD_utils.metrics import evaluate

FALSE_ALARM_RATE = 0.01


def main() -> None:
    arguments = parse()
    pyramid = make_pyramid(arguments.network)
    stored = RESULTS / "scoring.json"
    figures = json.loads(stored.read_text())["figures"] if stored.exists() else {}
    for pair in arguments.classes:
        folder, _, model = pair.partition("=")
        case = load_case(Path(folder), Path(model), arguments.cache)
        mine = figures.setdefault(pyramid.name, {}).setdefault(case.name, {})
        for name in arguments.conditions.split(","):
            mine[name] = measure(pyramid, case, name, arguments.pictures)
            print(pyramid.name, case.name, name, json.dumps(mine[name]), flush=True)
            save_result("scoring", torch.device("cpu"), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="+", help="folder of a class, '=', its model (trained if not there)")
    parser.add_argument("--network", help="FILE.py:CLASS:WEIGHTS, called with normalised images, returning maps")
    parser.add_argument("--conditions", default=",".join(("clean", *DISTURBANCES, "all")))
    parser.add_argument("--pictures", type=int, default=0, help="at most so many good and defective ones; 0: all")
    parser.add_argument("--cache", type=Path, default=Path(".data/scoring"), help="folder for renderings")
    return parser.parse_args()


def make_pyramid(network: str | None) -> FeaturePyramid:
    """The weightless features, or a class from a file, constructed with the name of its weights."""
    if network is None:
        return GradientFeatures()
    path, name, weights = network.split(":")
    spec = importlib.util.spec_from_file_location("network", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, name)(weights).eval()
    return CallableFeatures(name, lambda images: model(images)[:4])


def measure(pyramid: FeaturePyramid, case: Case, condition: str, pictures: int) -> dict[str, Any]:
    """Both scores of the pictures under one condition, and the decisions of ours, calibrated on clean good views."""
    pairs, queries = disturbed(case, condition)
    pairs, queries = selected(pairs, queries, pictures)
    train = as_float(case.train.queries), case.train.renderings.float()
    normality = learn_normality(pyramid, *train, ScoreConfig.fast())
    seen = score_pairs(pyramid, *train, ScoreConfig.fast(), normality).image_scores
    threshold = calibrate(seen.numpy(), FALSE_ALARM_RATE).threshold
    rendered = pairs.renderings.float()
    paper = score_pairs(pyramid, queries, rendered, ScoreConfig.paper())
    start = time.perf_counter()
    ours = score_pairs(pyramid, queries, rendered, ScoreConfig.fast(), normality)
    seconds = (time.perf_counter() - start) / len(queries)
    labels, alarms = np.array(pairs.labels), ours.image_scores.numpy() > threshold
    return {
        "paper": metrics(paper, pairs),
        "fast": metrics(ours, pairs),
        "good": int((labels == 0).sum()),
        "defective": int(labels.sum()),
        "false_alarms": int(alarms[labels == 0].sum()),
        "misses": int((~alarms[labels == 1]).sum()),
        "unseen_over_seen": float(ours.image_scores[labels == 0].median() / seen.median()),
        "seconds_per_pair": seconds,
    }


def selected(pairs: Pairs, queries: Tensor, pictures: int) -> tuple[Pairs, Tensor]:
    """At most so many good and so many defective pictures, evenly over the set; 0 takes all."""
    labels = np.array(pairs.labels)
    keep: list[int] = []
    for label in (0, 1):
        of_label = np.flatnonzero(labels == label)
        keep += list(of_label[:: max(1, len(of_label) // pictures)][:pictures] if pictures else of_label)
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
