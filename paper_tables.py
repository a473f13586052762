"""The paper's tables: every class, seed, preset and share of the views, and published figures beside them.

    python paper_tables.py --data_path MAD-Sim --seeds 0 1 2
    python paper_tables.py --data_path MAD-Sim --presets fast paper --shares 1 0.2 --address auto
    python paper_tables.py --data_path MAD-Sim --tables_only --maps PatchCore=maps/patchcore

Every run is the main job in a process of its own, on all GPUs of this machine or of a Ray cluster. The same command
after an interruption makes what is missing. Writes tables.html, .md, .tex, .csv and .json into --output
(docs/reproduce.md).
"""

import argparse
import sys
from pathlib import Path

import PAD_utils.run.start  # noqa: F401 (first of all)
from PAD_utils.errors import UserError
from PAD_utils.run.config import PRESETS, RunConfig, config_from, make_parser
from PAD_utils.run.job import run_script
from PAD_utils.run.lock import hold_folder
from PAD_utils.tables.collect import Record, collect, collect_maps
from PAD_utils.tables.plan import cells, contents, expected_classes, make_task
from PAD_utils.tables.schedule import Needs, default_gpus, run_tasks
from PAD_utils.tables.write import write_tables

# The tables say these of every run themselves, or have no use for them.
_UNUSED = ("classname", "images", "model", "prefix", "output", "preset", "train", "seed", "fail_on_defect", "wandb")
_GPU_SHARE = 0.25  # of a GPU, for one run: four together keep it busy while each starts, reads and writes


def main(argv: list[str] | None = None) -> int:
    """Makes runs and tables; returns the exit code: 0, or 2 when runs are missing or the user can mend something."""
    parser = make_parser(__doc__, without=_UNUSED)
    _add_flags(parser)
    arguments = parser.parse_args(argv)
    for share in arguments.shares:
        if not 0 < share <= 1:
            parser.error(f"--shares must lie above 0 and not above 1, got {share}")
    configs = {}
    for preset in dict.fromkeys(arguments.presets):
        configs[preset] = config_from(
            parser, argparse.Namespace(**{**vars(arguments), "preset": preset, "output": None})
        )
    return run_script(lambda: make_tables(arguments, configs), bool(arguments.verbose))


def make_tables(arguments: argparse.Namespace, configs: dict[str, RunConfig]) -> None:
    """Runs what is missing, then writes the tables. Raises UserError, after the tables, when runs failed."""
    data_path, output = arguments.data_path, arguments.output or arguments.data_path / "paper_tables"
    classes = expected_classes(data_path, arguments.classes)
    places = {
        cell: cell.folder(output, arguments.features)
        for cell in cells(arguments.presets, arguments.shares, classes, arguments.seeds)
    }
    missing: dict[str, str] = {}
    with hold_folder(output):
        if not arguments.tables_only:
            found, missing = contents(data_path, classes, arguments.rad_data_path)
            tasks = [
                make_task(cell, configs[cell.preset], output, folder, found[cell.classname])
                for cell, folder in places.items()
                if cell.classname in found
            ]
            run_tasks(tasks, _needs(arguments))
        records = [collect(cell, folder, missing.get(cell.classname), data_path) for cell, folder in places.items()]
        for name, folder in arguments.maps:
            records += [collect_maps(name, folder, classname, data_path) for classname in classes]
        write_tables(output, records)
    _complain(records, output)


def _complain(records: list[Record], output: Path) -> None:
    lost = [record for record in records if record.problem is not None]
    if lost:
        first = f"{lost[0].classname}: {lost[0].problem}"
        raise UserError(
            f"{len(lost)} of {len(records)} runs are missing (first: {first}); {output / 'tables.md'} says why"
        )


def _needs(arguments: argparse.Namespace) -> Needs:
    gpus = arguments.gpus_per_job
    if gpus is None:
        gpus = default_gpus(arguments.device, arguments.address, _GPU_SHARE)
    return Needs(gpus, round(1e9 * arguments.memory_per_job), arguments.address)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tables")
    classes = "classes of the tables (default: all 20 of MAD-Sim where one is there, and all others that are)"
    group.add_argument("-c", "--classes", nargs="+", metavar="CLASS", help=classes)
    group.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="seeds (default: 0)")
    group.add_argument("--presets", nargs="+", choices=PRESETS, default=["fast"], help="presets (default: fast)")
    shares = "shares of the training views, 1 for all; others are drawn by the seed (default: 1)"
    group.add_argument("--shares", nargs="+", type=float, default=[1.0], metavar="X", help=shares)
    output = "folder of the runs and the tables (default: <data_path>/paper_tables)"
    group.add_argument("--output", type=Path, metavar="FOLDER", help=output)
    only = "make the tables of the runs that are there, and no run"
    group.add_argument("--tables_only", action="store_true", help=only)
    maps = "another program's maps: <FOLDER>/<class>/<defect>/<name>.tiff, with anomaly_maps/ or test/ between or not"
    group.add_argument("--maps", nargs="+", type=_named_folder, default=[], metavar="NAME=FOLDER", help=maps)
    address = "a running Ray cluster, as HOST:PORT or 'auto' (default: this machine alone)"
    group.add_argument("--address", metavar="ADDRESS", help=address)
    gpus = f"GPUs of a run; a fraction shares one (default: {_GPU_SHARE:g}, 0 where there is none)"
    group.add_argument("--gpus_per_job", type=float, metavar="X", help=gpus)
    memory = "GB of memory that is set aside for a run (default: %(default)s)"
    group.add_argument("--memory_per_job", type=float, default=6.0, metavar="GB", help=memory)


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"must be NAME=FOLDER, got {text}")
    return name, Path(folder)


if __name__ == "__main__":
    sys.exit(main())
