"""Parts judged by several photographs each, against single photographs, on a class of prepare_synthetic_ad.py.

    python -m benchmarks.bench_parts DATA_PATH --name 81Parts --seed 81 --palette dark

Renders the class, good parts, and parts with a defect that each photograph shows, faint ones too; trains; judges all as
`--images` does. Writes benchmarks/results/parts_<name>_<device>.json. What is there already is kept.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results_file import save_result
from PAD_utils.report.sentences import interval
from PAD_utils.run.job import choose_device
from PAD_utils.score.calibration import DEFECT, NOT_LOCALISED
from PAD_utils.synthetic import SyntheticConfig, draw_defect, free_pose, write_png, write_synthetic_class
from PAD_utils.synthetic.animals import PALETTES, build_animal
from PAD_utils.synthetic.defects import DEFECTS
from PAD_utils.synthetic.render import Light, Renderer, changed
from PAD_utils.synthetic.shapes import merge
from train_and_render import main as run_job

_LEAST_PX = 20  # at 200 px: what shows less of a defect does not count as showing it
_TRIES = 200
_KINDS = ("good", "shown")


def main() -> None:
    arguments = parse()
    config = SyntheticConfig(
        name=arguments.name, seed=arguments.seed, palette=arguments.palette, size=arguments.size,
        views_per_ring=arguments.views_per_ring, good=0, defects=0, samples=36, visible=15,
    )  # fmt: skip
    root = write_parts(arguments.data_path, config, arguments.parts, arguments.photographs)
    folder = arguments.data_path / "results_parts_0" / config.name / "inspections"
    for kind in _KINDS:
        job = ["-c", config.name, "-data_path", str(arguments.data_path), "-p", "parts"]
        if run_job([*job, "--images", str(root / "parts" / kind)]):
            raise SystemExit("the job failed")
    found = {kind: figures(folder / kind, kind == "good") for kind in _KINDS}
    print(save_result(f"parts_{config.name}_{choose_device(None).type}", choose_device(None), found), found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path)
    parser.add_argument("--name", default="81Parts")
    parser.add_argument("--seed", type=int, default=81)
    parser.add_argument("--palette", choices=list(PALETTES), default="dark")
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--views_per_ring", type=int, default=10)
    parser.add_argument("--parts", type=int, default=36, help="of each kind")
    parser.add_argument("--photographs", type=int, default=3, help="of each part")
    return parser.parse_args()


def write_parts(out: Path, config: SyntheticConfig, count: int, photographs: int) -> Path:
    """Writes `out/<name>` and below its parts/ the photographs of `count` good parts and of as many with a defect."""
    root = write_synthetic_class(out, config)
    renderer = Renderer(config.size, config.samples)
    parts = build_animal(config.seed, PALETTES[config.palette])
    good = renderer.scene(merge(parts), Light())
    for number in range(count):
        rng = np.random.default_rng([config.seed, 50, number])
        folders = {kind: root / "parts" / kind / f"{number:03d}" for kind in _KINDS}
        if all((folder / f"{photographs - 1}.png").exists() for folder in folders.values()):
            continue
        query = draw_defect(renderer, parts, config, list(DEFECTS)[number % len(DEFECTS)], rng)
        bad = renderer.scene(merge(query.parts), Light())
        poses = [query.pose]
        for _ in range(_TRIES):
            if len(poses) == photographs:
                break
            pose = free_pose(rng, config.distance)
            seen = changed(renderer.surface(good, pose, 1), renderer.surface(bad, pose, 1)).sum()
            if seen >= _LEAST_PX * (config.size / 200) ** 2:
                poses.append(pose)
        poses += [free_pose(rng, config.distance) for _ in range(photographs - len(poses))]
        free = [free_pose(rng, config.distance) for _ in range(photographs)]
        for kind, scene, taken in (("good", good, free), ("shown", bad, poses)):
            for i, pose in enumerate(taken):
                write_png(folders[kind] / f"{i}.png", renderer.picture(scene, pose, int(rng.integers(2**31))))
    return root


def figures(folder: Path, good: bool) -> dict[str, Any]:
    """Wrong decisions of photographs and of parts, of those that were localized, with 95 % intervals."""
    found = {}
    for table in ("images", "parts"):
        with (folder / f"{table}.csv").open() as file:
            decisions = [row["decision"] for row in csv.DictReader(file)]
        judged = [decision for decision in decisions if decision != NOT_LOCALISED]
        wrong = sum((decision == DEFECT) == good for decision in judged)
        found[table] = {"wrong": wrong, "of": len(judged), "interval": interval(wrong, len(judged))}
    return found


if __name__ == "__main__":
    main()
