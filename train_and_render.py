"""Learn a good object, find where each test picture was taken, render a good object from there, and compare the two.

    python train_and_render.py -c 01Gorilla

Files are left in <data_path>/results_<prefix>_<seed>/<class>/ (docs/outputs.md); report.html shows them. The same
command after an interruption goes on where it stopped.
"""

import dataclasses

import PAD_utils.run.start  # noqa: F401 (first of all)
from PAD_utils.data.layout import class_names, list_class
from PAD_utils.data.mad import ClassData
from PAD_utils.data.photographs import Photograph, QuerySetting, list_photographs
from PAD_utils.inspector import Inspector
from PAD_utils.run import steps
from PAD_utils.run.checks import check_needs, photograph_pixels, sample_pixels
from PAD_utils.run.conclude import conclude
from PAD_utils.run.conclude_inspection import conclude_inspection
from PAD_utils.run.config import RunConfig, config_from, make_parser
from PAD_utils.run.job import Job, leave, open_job, run_script
from PAD_utils.run.judge import judge
from PAD_utils.run.ledger import fingerprint
from PAD_utils.run.lock import hold_folders
from PAD_utils.run.photographs import inspect_photographs
from PAD_utils.score.calibration import OK
from PAD_utils.score.pyramid import FeaturePyramid


def main(argv: list[str] | None = None) -> int:
    """Runs the job of a command line; returns the exit code: 0, 2 for an error that the user can mend, or, with
    --fail_on_defect, 1 for a picture that is not OK."""
    parser = make_parser(__doc__, several_classes=True)
    arguments = parser.parse_args(argv)
    names = arguments.classname
    arguments.classname = names[0]
    config = config_from(parser, arguments)
    if names != names[:1] or names == ["all"]:
        for flag in ("output", "model"):
            if getattr(config, flag):
                parser.error(f"--{flag} is the folder of one class; leave it out to run several")
    return run_script(lambda: run_classes(config, names), bool(config.verbose))


def run_classes(config: RunConfig, names: list[str]) -> int:
    """Runs one class after the other. Raises UserError before any of them when a name is wrong."""
    if names == ["all"]:
        names = class_names(config.data_path)
    for name in names if len(names) > 1 else ():
        list_class(config.data_path, name, config.rad_data_path, with_tests=config.images is None)
    return max([run_class(dataclasses.replace(config, classname=name)) for name in names])


def run_class(config: RunConfig) -> int:
    """Runs all steps of one class and returns the exit code."""
    job = open_job(config)
    data = steps.load_views(job)
    if config.images is not None:
        return inspect_class(job, data, list_photographs(config.images))
    samples = steps.load_samples(job, data)
    check_needs(job, data.gallery, sample_pixels(samples), [config.retrieval])
    pyramid = steps.load_features(job)
    with hold_folders(job):
        model, inspector = open_model(job, data, pyramid)
        poses = steps.localize_samples(job, model, inspector, samples)
        verdicts = judge(inspector, samples, poses)
        metrics = conclude(job, data, model, samples, poses, verdicts)
    return int(config.fail_on_defect and metrics["decisions"][OK] < len(samples))


def inspect_class(job: Job, data: ClassData, photographs: list[Photograph]) -> int:
    """Judges photographs that nothing is known of; returns the exit code."""
    setting = QuerySetting.of(data, steps.source_of(job.config))
    pixels = photograph_pixels(job.folder, photographs, setting)
    check_needs(job, data.gallery, pixels, [job.config.retrieval])
    pyramid = steps.load_features(job)
    with hold_folders(job):
        model, inspector = open_model(job, data, pyramid)
        key = fingerprint(job.ledger.fingerprint(steps.INSPECTOR), setting)
        inspected = inspect_photographs(job, inspector, photographs, setting, key)
        metrics = conclude_inspection(job, data, model, inspector, inspected)
    return int(job.config.fail_on_defect and metrics["decisions"][OK] < len(photographs))


def open_model(job: Job, data: ClassData, pyramid: FeaturePyramid) -> tuple[steps.Model, Inspector]:
    """Trains, or reads, the good object and what judges by it."""
    model = steps.train_or_load(job, data.gallery, data.world)
    return model, steps.open_inspector(job, model, pyramid, steps.photo_lens(job, data))


if __name__ == "__main__":
    leave(main())
