"""Coarse and fine camera poses against the true ones, and seconds per picture.

    python -m benchmarks.bench_pose DATA_PATH CLASS --model point_cloud.ply --name pose_dog_400 [--size 400] [--adam]

The true poses are those that the class ships, else those in DATA_PATH/CLASS_test_poses.json. Retrieval is measured on
the test pictures and, leaving the picture itself out, on every tenth training picture. Every picture is also
localized on its own: `alone` is the time from a picture in memory to its pose.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.match_count import MatchCountRetriever
from benchmarks.results_file import save_result
from benchmarks.true_poses import true_camera
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply
from gaussian_splatting.pose.adam import AdamRefiner
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.types import Refiner
from gaussian_splatting.views import View
from PAD_utils.data.mad import load_class
from PAD_utils.evaluate.pose_metrics import PoseError, pose_error, summarize
from PAD_utils.pose.bank import make_bank
from PAD_utils.pose.localize import localize
from PAD_utils.pose.retrieval import BankRetriever, Retriever, gallery_retriever
from PAD_utils.run.job import choose_device

HYPOTHESES = 8
RECALL_DEG = (5, 10, 15)
SHARE_WITHIN = ((0.3, 0.01), (0.5, 0.05))  # degrees, world units


@dataclass(frozen=True)
class Queries:
    """Pictures (q, h, w, 3) uint8 and their true cameras."""

    images: Tensor
    cameras: list[Camera]


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    data = load_class(arguments.data_path, arguments.classname, arguments.size)
    gallery, gaussians = data.gallery, load_ply(arguments.model, data.world).to(device)
    test = data.test[:: max(1, len(data.test) // (arguments.pictures or len(data.test)))]
    cameras = [true_camera(arguments.data_path, data, sample) for sample in test]
    queries = Queries(torch.stack([sample.image for sample in test]), cameras)
    began = time.perf_counter()
    bank = make_bank(gaussians, [view.camera for view in gallery])
    seconds_bank = time.perf_counter() - began
    retrievers: list[Retriever] = [BankRetriever(bank, "bank"), gallery_retriever(gallery, device)]
    by_matches = [MatchCountRetriever(gallery)] if arguments.matches else []
    start = next(r for r in retrievers if r.name == arguments.start)
    figures = {
        "class": data.name,
        "width": gallery[0].camera.width,
        "sh_degree": gaussians.sh_degree,
        "start": start.name,
        "gaussians": len(gaussians),
        "pictures": len(cameras),
        "bank": {"views": len(bank.distance), "seconds": seconds_bank},
        "retrieval_test": {r.name: retrieval_figures(r, queries) for r in (*retrievers, *by_matches)},
        "retrieval_training_left_out": leave_one_out(retrievers[0], by_matches, gallery, device),
        "gauss-newton": refine_figures(gaussians, queries, start, GaussNewtonRefiner(), arguments.repeats),
    }
    if arguments.adam:
        figures["adam"] = refine_figures(gaussians, queries, start, AdamRefiner(), 1)
    path = save_result(arguments.name, device, figures)
    print(f"{figures['gauss-newton']}\nwritten to {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("classname")
    parser.add_argument("--model", type=Path, required=True, help="PLY of the trained model")
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--size", type=int, help="resolution: 1, 2, 4, 8 a divisor, larger a width in pixels")
    parser.add_argument("--start", choices=("bank", "nearest"), default="bank", help="where first poses come from")
    parser.add_argument("--pictures", type=int, help="at most so many test pictures, evenly taken; all if left out")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing; the fastest counts")
    parser.add_argument("--matches", action="store_true", help="measure SplatPose's way of choosing a view too")
    parser.add_argument("--adam", action="store_true", help="measure the paper's refinement too")
    parser.add_argument("--device", help="the first GPU, or the CPU, if left out")
    return parser.parse_args()


def errors(cameras: list[Camera], true: list[Camera]) -> list[PoseError]:
    return [pose_error(a.to_blender(), b.to_blender()) for a, b in zip(cameras, true, strict=True)]


def recalls(hypotheses: list[list[Camera]], true: list[Camera]) -> dict[str, Any]:
    """Median rotation error of the first hypothesis, recall of the first and of the best of all."""
    first = [e.rotation_deg for e in errors([cameras[0] for cameras in hypotheses], true)]
    best = [
        min(e.rotation_deg for e in errors(cameras, [t] * len(cameras)))
        for cameras, t in zip(hypotheses, true, strict=True)
    ]
    share = {
        name: {f"{limit}": sum(angle <= limit for angle in angles) / len(angles) for limit in RECALL_DEG}
        for name, angles in (("recall_first", first), ("recall_best_of_all", best))
    }
    return {"median_first_deg": float(torch.tensor(first).median()), **share}


def retrieval_figures(retriever: Retriever, queries: Queries) -> dict[str, Any]:
    return recalls(retriever.hypotheses(queries.images, queries.cameras, HYPOTHESES), queries.cameras)


def leave_one_out(
    bank: Retriever, by_matches: list[MatchCountRetriever], gallery: list[View], device: torch.device
) -> dict[str, Any]:
    """Every tenth training picture as a query: of the bank, which holds none of them, and of all the other ones."""
    left_out = range(0, len(gallery), 10)
    images, true = torch.stack([gallery[i].image for i in left_out]), [gallery[i].camera for i in left_out]
    found: dict[str, list[list[Camera]]] = defaultdict(list)
    for i, image in zip(left_out, images[:, None], strict=True):
        retriever = gallery_retriever([*gallery[:i], *gallery[i + 1 :]], device)
        found[retriever.name] += retriever.hypotheses(image, [gallery[i].camera], HYPOTHESES)
        for matches in by_matches:
            (cameras,) = matches.hypotheses(image, [gallery[i].camera], HYPOTHESES + 1)
            found[matches.name].append([c for c in cameras if c is not gallery[i].camera][:HYPOTHESES])
    found[bank.name] = bank.hypotheses(images, true, HYPOTHESES)
    return {name: recalls(cameras, true) for name, cameras in found.items()}


def refine_figures(
    gaussians: Gaussians, queries: Queries, retriever: Retriever, refiner: Refiner, repeats: int
) -> dict[str, Any]:
    """Errors after refinement; seconds per picture with all in one call, the fastest of `repeats`, and one by one."""
    start = time.process_time()
    runs = [
        localize(gaussians, queries.images, queries.cameras, retriever, refiner, HYPOTHESES) for _ in range(repeats)
    ]
    cpu_seconds = (time.process_time() - start) / repeats
    count = len(queries.cameras)
    found = errors([estimate.camera for estimate in runs[0].estimates], queries.cameras)
    alone = []
    for i in range(min(10, count)):
        one = localize(gaussians, queries.images[i : i + 1], queries.cameras[i : i + 1], retriever, refiner, HYPOTHESES)
        alone.append(one.seconds_retrieve + one.seconds_refine)
    return {
        **summarize(found),
        "rotation_deg_worst": max(e.rotation_deg for e in found),
        "translation_worst": max(e.translation for e in found),
        "share_within": {
            f"{deg} deg, {units} units": sum(e.rotation_deg <= deg and e.translation <= units for e in found) / count
            for deg, units in SHARE_WITHIN
        },
        "not_converged": sum(not estimate.converged for estimate in runs[0].estimates),
        "iterations_mean": sum(estimate.iterations for estimate in runs[0].estimates) / count,
        "seconds_retrieve_per_picture": min(run.seconds_retrieve for run in runs) / count,
        "seconds_refine_per_picture": min(run.seconds_refine for run in runs) / count,
        "cpu_seconds_per_picture": cpu_seconds / count,  # of all cores together: hardly depends on what else runs
        "seconds_alone": float(torch.tensor(alone).median()),
    }


if __name__ == "__main__":
    main()
