"""Learn a good object, find where each test picture was taken, render a good object from there, and compare the two.

    python train_and_render.py -c 01Gorilla

Files are left in <data_path>/results_<prefix>_<seed>/<class>/ (docs/outputs.md); report.html shows them. The same
command after an interruption goes on where it stopped.
"""

import sys

import PAD_utils.run.start  # noqa: F401 (first of all)
from PAD_utils.run import steps
from PAD_utils.run.conclude import conclude
from PAD_utils.run.config import parse_config
from PAD_utils.run.job import open_job, run_script
from PAD_utils.run.judge import judge


def main(argv: list[str] | None = None) -> int:
    """Runs the job of a command line; returns the exit code: 0, or 2 for an error that the user can mend."""
    config = parse_config(argv, __doc__)

    def work() -> None:
        job = open_job(config)
        data = steps.load_views(job)
        model = steps.train_or_load(job, data.gallery)
        samples = steps.load_samples(job, data)
        poses = steps.localize_samples(job, model, data.gallery, samples)
        verdicts = judge(job, model, data.gallery, samples, poses)
        conclude(job, data, model, samples, poses, verdicts)

    return run_script(work, bool(config.verbose))


if __name__ == "__main__":
    sys.exit(main())
