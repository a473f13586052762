"""The order of points along a curve that keeps neighbors in space together (Morton 1966): for packing."""

import numpy as np
from jaxtyping import Float, Int

_BITS = 21  # per axis, of the 63 that an integer has


def morton_order(points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """The indices that sort the points by their Morton code within their bounding box; ties keep their order."""
    low = points.min(0).astype(np.float64)
    width = max(float((points.max(0) - low).max()), np.finfo(np.float32).tiny)
    cells = ((points - low) / width * (2**_BITS - 1)).astype(np.uint64)
    codes = np.zeros(len(points), np.uint64)
    for axis in range(3):
        codes |= _spread(cells[:, axis]) << np.uint64(axis)
    return np.argsort(codes, kind="stable")


def _spread(x: np.ndarray) -> np.ndarray:
    """The lowest 21 bits, two zeros between each and the next."""
    for shift, mask in (
        (32, 0x001F00000000FFFF),
        (16, 0x001F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x
