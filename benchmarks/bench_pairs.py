"""The score alone on pairs of photographs of one pose: nothing is rendered, found or learned.

    python -m benchmarks.bench_pairs mad_tiles.npz --name pairs_mad

The archive holds `<class>_images` (n, h, w, 3) uint8, `<class>_masks` (n, h, w) bool, and `pairs`, rows of class,
reference, query, dy, dx: the reference, moved by (dy, dx) pixels, takes the place of a rendering. Its own defect (with
a margin, for maps are blurred) and what the move brings in show the query instead, and do not count. Pairs whose query
shows no defect are left out.

Masks that were cut from a figure apart from their pictures lie some pixels beside the defects. One offset for all is
measured by the colors alone: by how far the masks must move to hold the most difference of query and reference. The
figures are told with the masks as they are, and with all of them moved by that.
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
from PAD_utils.score.pyramid import FeaturePyramid

_MARGIN = 9  # pixels, of the square that widens the defect of a reference
_BESIDE = 2.0  # pixels by which masks drawn by hand are trusted
_FARTHEST = 6  # pixels, by which masks may lie beside their defects
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
    pyramid = make_features(FAST_FEATURES, device=device)
    as_they_are = list(read_pairs(arguments.archive))
    offset = mask_offset(as_they_are)
    figures: dict[str, object] = {
        "features": pyramid.name,
        "pairs": len(as_they_are),
        "masks_moved_by": offset,
        "difference_in_masks": in_masks(as_they_are, (0, 0)),
        "difference_in_moved_masks": in_masks(as_they_are, offset),
    }
    for where, pairs in (("", as_they_are), ("moved_", list(read_pairs(arguments.archive, offset)))):
        for name, config in (("paper", ScoreConfig.paper()), ("fast", ScoreConfig.fast())):
            maps = [score_map(pyramid, pair, config, device) for pair in pairs]
            figures |= {f"{where}{name}_{key}": value for key, value in measured(maps, pairs).items()}
    print(save_result(arguments.name, device, figures), figures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--name", required=True, help="of the JSON file in benchmarks/results")
    parser.add_argument("--device", help="as of train_and_render.py")
    return parser.parse_args()


def read_pairs(archive: Path, offset: tuple[int, int] = (0, 0)) -> Iterator[Pair]:
    """The pairs, all masks moved by this many rows and columns."""
    with np.load(archive) as content:
        for classname, reference, query, dy, dx in content["pairs"]:
            images, masks = content[f"{classname}_images"], np.roll(content[f"{classname}_masks"], offset, (1, 2))
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


def mask_offset(pairs: list[Pair]) -> tuple[int, int]:
    """By how many rows and columns the masks must move to hold the most difference."""
    moves = range(-_FARTHEST, _FARTHEST + 1)
    return max(((dy, dx) for dy in moves for dx in moves), key=lambda offset: in_masks(pairs, offset))


def in_masks(pairs: list[Pair], offset: tuple[int, int]) -> float:
    """The mean difference of colors in the masks that were moved, in shares of the highest near; mean of all."""
    shares = []
    for pair in pairs:
        difference = np.abs(pair.query.astype(float) - pair.reference).mean(-1)
        reach = np.ones((2 * _FARTHEST + 1,) * 2)
        highest = difference[cv2.dilate(pair.mask.astype(np.uint8), reach) > 0].max()
        shares.append(difference[np.roll(pair.mask, offset, (0, 1))].mean() / highest)
    return float(np.mean(shares))


def score_map(pyramid: FeaturePyramid, pair: Pair, config: ScoreConfig, device: torch.device) -> np.ndarray:
    query, reference = (as_batch(picture, device) for picture in (pair.query, pair.reference))
    return score_pairs(pyramid, query, reference, config).maps[0].cpu().numpy()


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
