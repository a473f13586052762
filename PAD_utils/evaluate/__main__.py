"""`python -m PAD_utils.evaluate`: evaluates a folder of score maps of any method, in the layout of MVTec AD."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from PAD_utils.arguments import ArgumentParser
from PAD_utils.data.masks import read_mask
from PAD_utils.errors import UserError, one_line, outer_reason
from PAD_utils.evaluate.folders import list_maps, table_scores
from PAD_utils.evaluate.maps import read_map
from PAD_utils.evaluate.metrics import PRO_LIMIT, evaluate
from PAD_utils.files import write_json

_METRICS = (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO"))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and returns the exit code: 0, or 2 with one line on stderr when a file is wrong or missing."""
    args = _parser().parse_args(argv)
    try:
        result = evaluate_folder(args.maps_dir, args.ground_truth_dir, args.scores, args.limit)
        print(as_table(result))
        if args.json:
            write_json(args.json, result)
    except Exception as error:
        reason = one_line(error) if isinstance(error, UserError) else outer_reason(error)
        if reason is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 2
    return 0


def evaluate_folder(
    maps_dir: Path, ground_truth_dir: Path, table: Path | None = None, limit: float = PRO_LIMIT
) -> dict:
    """`evaluate` of the maps `<defect>/<name>.tiff` against the masks `<defect>/<name>_mask` or `<defect>/<name>`.

    Images of `good` have no masks. The image score is the map's maximum, or the one in `table` (an images.csv).
    Raises UserError naming the file: a map without mask, a mask without map, sizes that differ, what cannot be read.
    """
    files = list_maps(maps_dir, ground_truth_dir)
    maps = [read_map(file.path) for file in files]
    masks = [None if file.mask is None else read_mask(file.mask) for file in files]
    for file, scores, mask in zip(files, maps, masks, strict=True):
        if mask is not None and mask.shape != scores.shape:
            raise UserError(
                f"{file.path} is {_size(scores)} pixels and its mask {file.mask} {_size(mask)}; "
                "resample the map to the size of the mask"
            )
    image_scores = table_scores(table, files) if table else [float(m.max()) for m in maps]
    return evaluate(maps, masks, image_scores, [file.label for file in files], [file.defect for file in files], limit)


def as_table(result: dict) -> str:
    """The metrics in percent as text: a line for each kind of defect and one for all images, reasons below."""
    rows = [(kind, row["n"], row) for kind, row in result["per_defect"].items()]
    rows.append(("all images", result["n_test"], result))
    width = max(len("defect"), *(len(name) for name, _, _ in rows))
    lines = [f"{'defect':<{width}}  images  " + "  ".join(title for _, title in _METRICS)]
    for name, count, row in rows:
        figures = (f"{'-' if row[key] is None else f'{100 * row[key]:.2f}':>{len(title)}}" for key, title in _METRICS)
        lines.append(f"{name:<{width}}  {count:>6}  " + "  ".join(figures))
    lines += [f"{title} is undefined: {result['undefined'][key]}" for key, title in _METRICS if result[key] is None]
    return "\n".join(lines)


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(__doc__, "python -m PAD_utils.evaluate MAPS_DIR GROUND_TRUTH_DIR [options]")
    parser.add_argument("maps_dir", type=Path, help="score maps: <defect>/<name>.tiff, gray; good images below good/")
    parser.add_argument(
        "ground_truth_dir", type=Path, help="masks: <defect>/<name>_mask.png or <defect>/<name>.png, or another format"
    )
    parser.add_argument("--limit", type=_fraction, default=PRO_LIMIT, help="AUPRO's false positive rate (%(default)s)")
    parser.add_argument("--scores", type=Path, help="an images.csv with the image scores (default: each map's maximum)")
    parser.add_argument("--json", type=Path, help="write all figures and the curves to this file")
    return parser


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must lie in (0, 1], got {text}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
