"""The object of a model without what floats around it."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from gaussian_splatting.gaussians import Gaussians

_CELLS = 64  # at most, along the longest side of the box that holds nearly all of the model
_SPACINGS = 2.0  # cells are at least so many times as wide as nine of ten Gaussians are from their neighbor
_OUTER = 0.01  # share of the opacity that may lie outside of that box, on each side
_FAINT = 0.05  # opacity below which a Gaussian connects nothing


def of_object(gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Which Gaussians belong to the largest connected cloud: space is cut into cells; cells that touch are one
    cloud, and the cloud with the most opacity is the object. What lies a cell beside it counts too, fuzzy borders among
    it. A table that the object stands on is connected to it: give a sphere instead (`within`)."""
    means = gaussians.means.detach().cpu().double().numpy()
    weight = gaussians.opacities.detach().cpu().double().numpy()
    low, high = _nearly_all(means, weight)
    inside = ((means >= low) & (means <= high)).all(1)
    solid = inside & (weight > _FAINT)
    if solid.sum() < 2:
        return torch.ones(len(gaussians), dtype=torch.bool, device=gaussians.means.device)
    spacing = float(np.quantile(cKDTree(means[solid]).query(means[solid], 2)[0][:, 1], 0.9))
    side = max(float((high - low).max()) / _CELLS, _SPACINGS * spacing, np.finfo(np.float32).tiny)
    cells = np.floor((means - low) / side).astype(np.int64)
    filled = np.zeros(np.floor((high - low) / side).astype(int) + 1)
    np.add.at(filled, tuple(cells[solid].T), weight[solid])
    labels, count = ndimage.label(filled > 0, np.ones((3, 3, 3)))
    largest = 1 + int(np.argmax(ndimage.sum_labels(filled, labels, range(1, count + 1))))
    near = ndimage.binary_dilation(labels == largest, np.ones((3, 3, 3)))
    keep = np.zeros(len(means), bool)
    keep[inside] = near[tuple(cells[inside].T)]
    return torch.from_numpy(keep).to(gaussians.means.device)


def within(gaussians: Gaussians, center: Float[Tensor, "3"], radius: float) -> Bool[Tensor, "n"]:
    """Which Gaussians have their mean inside a sphere, world units."""
    return (gaussians.means.detach() - center.to(gaussians.means)).norm(dim=1) <= radius


def _nearly_all(means: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the box that leaves out so little of the opacity on each side, and as much room around it."""
    ends = []
    for axis in range(3):
        order = np.argsort(means[:, axis])
        share = np.cumsum(weight[order]) / weight.sum()
        at = np.searchsorted(share, (_OUTER, 1 - _OUTER)).clip(max=len(order) - 1)
        ends.append(means[order[at], axis])
    low, high = np.array(ends).T
    room = 0.1 * (high - low).max()
    return low - room, high + room
