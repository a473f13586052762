"""What every part of our score is worth: the score of one class with single parts left out or changed.

    python -m benchmarks.bench_scoring_ablation CLASS_FOLDER MODEL.ply --network backbones.py:MobileNetV2:weights.npz

For classes on which settings are chosen. Writes benchmarks/results/ablation_<class>.json.
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.bench_scoring import learn, load_network, selected
from benchmarks.results_file import save_result
from benchmarks.scoring_pairs import Case, Pairs, disturbed, load_case
from PAD_utils.evaluate.metrics import image_auroc
from PAD_utils.run.job import choose_device
from PAD_utils.score import anomaly, levels, normality
from PAD_utils.score.anomaly import ScoreConfig, score_pairs
from PAD_utils.score.features import GradientFeatures
from PAD_utils.score.pyramid import FeaturePyramid

CONDITIONS = ("clean", "noise", "light", "all")
FAST = ScoreConfig.fast()


# What differs from the default: settings of ScoreConfig, or names in PAD_utils.score.anomaly, .levels and .normality.
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "differences count from 1 instead of 0.25 on": {"_ORDINARY": 1.0},
    "differences count from 0.06 instead of 0.25 on": {"_ORDINARY": 0.0625},
    "with the finest features": {"finest": True},
    "colors weigh as any level": {"_COLOR_WEIGHT": 1.0},
    "colors weigh four times": {"_COLOR_WEIGHT": 4.0},
    "sigma 1.2": {"sigma": 1.2},
    "sigma 2.8": {"sigma": 2.8},
    "colors are not median filtered": {"median_filtered": lambda maps: maps},
    "no allowance for the query's noise": {"_own_noise": lambda ratio, shown, usual: torch.zeros_like(ratio)},
    "no slow changes of light": {"matched_light": lambda renderings, queries, shown: renderings},
    "no match of exposure": {"match_exposure": False},
    "floor 0.03": {"_LEAST_FLOOR": 0.03},
    "floor 0.3": {"_LEAST_FLOOR": 0.3},
    "edges count as faces": {"squared_gradient": torch.zeros_like},
}


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    case = load_case(arguments.folder, arguments.model, arguments.cache, device)
    pyramids: list[FeaturePyramid] = [GradientFeatures()]
    if arguments.network:
        pyramids.append(load_network(arguments.network, device))
    conditions = {name: selected(*disturbed(case, name), arguments.pictures) for name in CONDITIONS}
    figures = {
        pyramid.name: {name: judged(pyramid, name, case, conditions, device) for name in VARIANTS}
        for pyramid in pyramids
    }
    path = save_result(f"ablation_{case.name}", device, {"class": case.name, "features": figures})
    print(path, figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the class")
    parser.add_argument("model", type=Path, help="its PLY file; trained and written there if it is missing")
    parser.add_argument("--network", help="FILE.py:CLASS:WEIGHTS, called with normalized images, returning maps")
    parser.add_argument("--pictures", type=int, default=0, help="at most so many good and defective ones; 0: all")
    parser.add_argument("--cache", type=Path, default=Path(".data/scoring"), help="folder for renderings")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def judged(
    pyramid: FeaturePyramid,
    variant: str,
    case: Case,
    conditions: dict[str, tuple[Pairs, Tensor]],
    device: torch.device,
) -> dict[str, dict[str, float | int | None]]:
    """Of one variant under every condition: the image AUROC, and how many are judged wrongly."""
    found = {}
    with varied(pyramid, VARIANTS[variant]) as (features, config):
        learned = learn(features, case, device, config)
        for name, (pairs, queries) in conditions.items():
            renderings = pairs.renderings.to(device).float()
            scores = score_pairs(features, queries.to(device), renderings, config, learned.normality).image_scores.cpu()
            labels = torch.tensor(pairs.labels)
            found[name] = {
                "image_auroc": image_auroc(scores.numpy(), labels.numpy()).value,
                "false_alarms": int((scores[labels == 0] > learned.threshold).sum()),
                "misses": int((scores[labels == 1] <= learned.threshold).sum()),
            }
    return found


@contextmanager
def varied(pyramid: FeaturePyramid, changes: dict[str, Any]) -> Iterator[tuple[FeaturePyramid, ScoreConfig]]:
    """The features and settings of a variant, its replacements in place while the block runs."""
    settings = {name: value for name, value in changes.items() if hasattr(FAST, name)}
    with ExitStack() as stack:
        for name, value in changes.items():
            for module in (anomaly, levels, normality):
                if hasattr(module, name):
                    stack.enter_context(patch.object(module, name, value))
        yield WithFinest(pyramid) if "finest" in changes else pyramid, replace(FAST, **settings)


class WithFinest:
    """A pyramid with its first map twice: our score leaves out the first."""

    def __init__(self, pyramid: FeaturePyramid) -> None:
        self.name = pyramid.name
        self._pyramid = pyramid

    def __call__(self, images: Tensor) -> list[Tensor]:
        maps = self._pyramid(images)
        return [maps[0], *maps]


if __name__ == "__main__":
    main()
