"""The score alone on pairs of photographs of one pose: nothing is rendered, found or learned.

    python -m benchmarks.bench_pairs mad_tiles.npz --name pairs_mad

The archive holds `<class>_images` (n, h, w, 3) uint8, `<class>_masks` (n, h, w) bool, and `pairs`, rows of class,
reference, query, dy, dx: the reference, moved by (dy, dx) pixels, takes the place of a rendering. Its own defect (with
a margin, for maps are blurred) and what the move brings in show the query instead, and do not count. Pairs whose query
shows no defect are left out.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.results_file import save_result
from PAD_utils.evaluate.metrics import image_auroc
from PAD_utils.run.job import choose_device
from PAD_utils.score.anomaly import ScoreConfig, score_pairs
from PAD_utils.score.features import FAST_FEATURES, make_features

_MARGIN = 9  # pixels, of the square that widens the defect of a reference
_BESIDE = 2.0  # pixels by which masks drawn by hand are trusted
_WHITE = 247  # gray level, from which on a pixel shows the background


class Pair(NamedTuple):
    """Two pictures (h, w, 3) uint8; the query's defect, and what counts of the picture, (h, w) bool."""

    query: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    counts: np.ndarray


def main() -> None:
    arguments = parse()
    device = choose_device(arguments.device)
    pairs = list(read_pairs(arguments.archive))
    pyramid = make_features(FAST_FEATURES, device=device)
    figures = {"features": pyramid.name, "pairs": len(pairs)}
    for name, config in (("paper", ScoreConfig.paper()), ("fast", ScoreConfig.fast())):
        maps = [
            score_pairs(pyramid, as_batch(p.query, device), as_batch(p.reference, device), config).maps[0].cpu().numpy()
            for p in pairs
        ]
        figures |= {f"{name}_{key}": value for key, value in measured(maps, pairs).items()}
    print(save_result(arguments.name, device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def read_pairs(archive: Path) -> Iterator[Pair]:
    with np.load(archive) as content:
        for classname, reference, query, dy, dx in content["pairs"]:
            images, masks = content[f"{classname}_images"], content[f"{classname}_masks"]
            counts = (
                np.roll(cv2.dilate(masks[reference].astype(np.uint8), np.ones((_MARGIN, _MARGIN))), (dy, dx), (0, 1))
                == 0
            )
            counts[: max(dy, 0)] = counts[counts.shape[0] + min(dy, 0) :] = False
            counts[:, : max(dx, 0)] = counts[:, counts.shape[1] + min(dx, 0) :] = False
            counts |= masks[query]
            moved = np.where(counts[..., None], np.roll(images[reference], (dy, dx), (0, 1)), images[query])
            if masks[query].any():
                yield Pair(images[query], moved, masks[query], counts)


def as_batch(picture: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(picture.copy()).to(device).permute(2, 0, 1)[None].float() / 255


def measured(maps: list[np.ndarray], pairs: list[Pair]) -> dict[str, float]:
    """Pixel AUROC, of all that counts and of the object alone, and the share of pictures whose highest pixel is in the
    defect, or at most two pixels beside it: means over the pairs."""
    rows = []
    for score_map, pair in zip(maps, pairs, strict=True):
        on_object = pair.counts & ((pair.reference.min(-1) < _WHITE) | pair.mask)
        both = [image_auroc(score_map[some], pair.mask[some].astype(int)).value for some in (pair.counts, on_object)]
        away = cv2.distanceTransform((~pair.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        highest = away.flat[np.where(pair.counts, score_map, -np.inf).argmax()]
        rows.append((*both, highest == 0, highest <= _BESIDE))
    names = ("pixel_auroc", "pixel_auroc_on_object", "highest_in_defect", "highest_within_2_px")
    return dict(zip(names, np.mean(np.array(rows, float), axis=0).tolist(), strict=True))


if __name__ == "__main__":
    main()
