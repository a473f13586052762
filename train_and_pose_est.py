"""The pose benchmark: train on the posed gallery, find the poses of test views whose true poses are known, compare.

    python train_and_pose_est.py -c 01Gorilla -data_path MAD-Sim_Subsets/0.8_0/pose
    python train_and_pose_est.py -c chair -data_path nerf_synthetic --sh_degree 3 --combinations nearest+gauss-newton
    python train_and_pose_est.py -c chair -data_path nerf_synthetic --sh_degree 3 --protocol gsfeatloc

Reports coarse and fine errors apart: true rotation angles in degrees, distances of the camera centers in world units.
Writes pose_benchmark.json and pose_benchmark.svg into <data_path>/results_<prefix>_<seed>/<class>/. With --protocol a
published benchmark is run instead, from its start poses and from nothing, beside the published figures
(pose_protocol_<name>.json).
"""

import sys

import PAD_utils.run.start  # noqa: F401 (first of all)
from PAD_utils.files import write_json
from PAD_utils.run import steps
from PAD_utils.run.checks import check_needs
from PAD_utils.run.config import config_from, make_parser
from PAD_utils.run.job import open_job, run_script, write_run_json
from PAD_utils.run.lock import hold_folders
from PAD_utils.run.pose_benchmark import Combination, posed, run_combination, table, write_results
from PAD_utils.run.pose_protocol import PROTOCOLS, protocol_table, run_protocol
from PAD_utils.run.tracking import log_figures

# Nothing is judged here. --features is taken all the same, so that the command line of the main job fits.
_UNUSED = ("images", "weights", "false_alarm_rate", "fail_on_defect")


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmark of a command line; returns the exit code: 0, or 2 for an error that the user can mend."""
    parser = make_parser(__doc__, without=_UNUSED)
    combinations = "RETRIEVAL+REFINER to compare, e.g. bank+gauss-newton nearest+adam (default: the preset's)"
    parser.add_argument("--combinations", nargs="+", metavar="PAIR", help=combinations)
    protocol = "published benchmark to run instead: start poses, success and means as published"
    parser.add_argument("--protocol", choices=list(PROTOCOLS), help=protocol)
    arguments = parser.parse_args(argv)
    config = config_from(parser, arguments)
    if arguments.protocol and arguments.combinations:
        parser.error("--protocol uses --retrieval and --refiner; leave --combinations out")
    pairs = arguments.combinations or [f"{config.retrieval}+{config.refiner}"]

    def work() -> None:
        chosen = [Combination.parse(pair) for pair in pairs]
        job = open_job(config)
        data = steps.load_views(job)
        samples = posed(data.test, data.description)
        check_needs(job, data.gallery, 0, [pair.retrieval for pair in chosen])
        with hold_folders(job):
            model = steps.train_or_load(job, data.gallery, data.world)
            if arguments.protocol:
                result = run_protocol(job, model, samples, arguments.protocol)
                write_json(job.folder / f"pose_protocol_{arguments.protocol}.json", result)
                write_run_json(job, {"class": data.description})
                print(protocol_table(result))
                return
            results = [run_combination(job, model, samples, pair) for pair in chosen]
            write_results(job.folder, config.classname, results)
            write_run_json(job, {"class": data.description})
        if config.wandb:
            log_figures(config, {result["combination"]: {**result, "pictures": None} for result in results})
        print(table(results))

    return run_script(work, bool(config.verbose))


if __name__ == "__main__":
    sys.exit(main())
