"""Coarse poses: which known views look like the query, and where the camera must have stood for that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gaussian_splatting.background import measured_backdrop, own_color
from gaussian_splatting.camera import Camera, common_center
from gaussian_splatting.cuda_graph import Recording
from gaussian_splatting.geometry import rigid, skew
from gaussian_splatting.views import View, before_one_color
from PAD_utils.pose.silhouette import ANGLES, Reduction, Thumbnails, make_thumbnails, reduction, thumbnails

_SHORTLIST = 96  # candidates per query that the trimmed comparison looks at
_TRIMMED = 0.25  # share of the object that may be wrong without being counted: a missing part, a stain
_APART_DEG = 12.0  # hypotheses are at least this far apart; refinement converges from 15 to 20 degrees
_OTHER = 0.03  # difference of a backdrop's color in [0, 1] from which on it may be another one
_QUERY_CHUNK = 16
_FEW_QUERIES = 4  # more keep a GPU busy by themselves
_MOST_RECORDED = 8  # sizes of pictures and numbers of queries


@runtime_checkable
class Retriever(Protocol):
    """Finds first poses for pictures."""

    name: str

    def hypotheses(self, images: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], count: int) -> list[list[Camera]]:
        """Up to `count` poses of the camera of each picture, best first, at least one. The poses that `cameras` have
        already are not looked at."""
        ...


@dataclass(frozen=True)
class Bank:
    """Known views: their normalized thumbnails, `cam_from_world`, and the distance of the object's center from each
    camera in world units."""

    thumbnails: Thumbnails
    cam_from_world: Float[Tensor, "v 4 4"]
    distance: Float[Tensor, "v"]

    def cat(self, other: "Bank") -> "Bank":
        """These views and then the others."""
        poses, distance = (
            torch.cat((getattr(self, name), getattr(other, name))) for name in ("cam_from_world", "distance")
        )
        return Bank(self.thumbnails.cat(other.thumbnails), poses, distance)


class BankRetriever:
    """Compares silhouette-normalized thumbnails with a bank, over all rolls at once.

    Roll, distance and direction of the optical axis follow from the two silhouettes, so the object may be anywhere in
    the frame.
    """

    def __init__(self, bank: Bank, name: str) -> None:
        self.name = name
        # Half precision is what banks are saved in: one that was read is the one that was made.
        half = replace(bank.thumbnails, polar=bank.thumbnails.polar.half().float())
        self.bank = bank = replace(bank, thumbnails=half)
        self._spectrum, self._mean = _spectrum(bank.thumbnails.polar, None)
        self._background = bank.thumbnails.background.median(0).values
        self._background_levels = 255 * self._background.cpu().numpy()
        self._recordings: dict[tuple[object, ...], Recording[Tensor]] = {}

    def hypotheses(self, images: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], count: int) -> list[list[Camera]]:
        """See `Retriever`: at least 12 degrees apart, the best by trimmed difference first."""
        found: list[list[Camera]] = []
        for elsewhere, neighbors in groupby(self._elsewhere(image) for image in images):
            end = len(found) + len(list(neighbors))
            while len(found) < end:
                some = slice(len(found), min(len(found) + _QUERY_CHUNK, end))
                poses = self._looked_up(images[some], cameras[some], elsewhere).double().cpu()
                found += [
                    [camera.moved(pose) for pose in _apart(candidates, count)]
                    for camera, candidates in zip(cameras[some], poses, strict=True)
                ]
        return found

    def _looked_up(
        self, images: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], elsewhere: bool
    ) -> Float[Tensor, "q s 4 4"]:
        """The poses of the shortlist, best first; of few pictures on a GPU by a recorded graph."""
        height, width = images.shape[1:3]
        size, *lens = reduction(height, width, cameras)
        images = images.to(self._background.device)

        def ranked(x: list[Tensor]) -> Tensor:
            return self._ranked(thumbnails(x[0], Reduction(size, *x[1:])), elsewhere)

        inputs, key = [images, *(x.to(images.device) for x in lens)], (images.shape, size, elsewhere)
        few = images.is_cuda and len(images) <= _FEW_QUERIES
        if not few or (key not in self._recordings and len(self._recordings) >= _MOST_RECORDED):
            return ranked(inputs)
        if key not in self._recordings:
            self._recordings[key] = Recording(ranked, inputs)
        return self._recordings[key](inputs)

    def _elsewhere(self, image: UInt8[Tensor, "h w 3"]) -> bool:
        """Whether a picture may show another backdrop than the bank's, by its border."""
        return bool(np.abs(own_color(image.cpu()) - self._background_levels).max() > 255 * _OTHER)

    def _ranked(self, queries: Thumbnails, elsewhere: bool) -> Float[Tensor, "q s 4 4"]:
        """Where the backdrop has another color, either the light has changed, which changes all colors alike, or the
        object lies elsewhere and has its own: both are looked for."""
        kinds = [queries, queries.before(self._background)] if elsewhere else [queries]
        costs, poses = zip(*(self._candidates(kind) for kind in kinds), strict=True)
        order = torch.cat(costs, dim=1).argsort(dim=1, stable=True)
        return torch.gather(torch.cat(poses, dim=1), 1, order[..., None, None].expand(-1, -1, 4, 4))

    def _candidates(self, queries: Thumbnails) -> tuple[Float[Tensor, "q s"], Float[Tensor, "q s 4 4"]]:
        """The poses of the shortlist, and what share of the query each leaves unexplained."""
        view, roll = self._shortlist(queries)
        energy = queries.polar.square().flatten(1).sum(1, keepdim=True).clamp_min(1e-12)
        return self._trimmed_cost(queries, view, roll) / energy, self._poses(queries, view, roll)

    def _shortlist(self, queries: Thumbnails) -> tuple[Int[Tensor, "q s"], Int[Tensor, "q s"]]:
        """Views and rolls (in angle steps) of the highest correlations; of each view only local maxima over the
        roll."""
        spectrum, _ = _spectrum(queries.polar, self._mean)
        product = torch.einsum("qcf,vcf->qvf", spectrum, self._spectrum.conj())
        score = torch.fft.irfft(product, n=ANGLES, dim=2)
        peak = (score >= score.roll(1, 2)) & (score >= score.roll(-1, 2))
        flat = torch.where(peak, score, torch.full_like(score, -torch.inf)).flatten(1)
        best = flat.topk(min(_SHORTLIST, len(self.bank.cam_from_world)), dim=1).indices
        return best // ANGLES, best % ANGLES

    def _trimmed_cost(
        self, queries: Thumbnails, view: Int[Tensor, "q s"], roll: Int[Tensor, "q s"]
    ) -> Float[Tensor, "q s"]:
        """Share of the query left unexplained by the rolled view at the best gain, the worst quarter of the object
        left out."""
        steps = torch.arange(ANGLES, device=view.device)
        index = ((steps - roll[..., None]) % ANGLES)[:, :, None, None, :]
        known = self.bank.thumbnails.polar[view]
        known = torch.gather(known, 4, index.expand(*known.shape[:4], ANGLES)).flatten(3)
        query = queries.polar.flatten(2)[:, None]
        inside = queries.inside.flatten(1)[:, None]
        either = (((query**2).sum(2) + (known**2).sum(2)) > 1e-4) & (inside > 0)
        gain = _gain(query, known, either)
        error = ((query - gain[..., None, None] * known) ** 2).sum(2)
        error = torch.where(either, error, torch.full_like(error, torch.inf))
        keep = ((1 - _TRIMMED) * either.sum(2)).long().clamp_min(1)
        total = torch.where(torch.isfinite(error), error, 0).sort(dim=2, descending=True).values
        kept = torch.arange(error.shape[2], device=view.device) >= (either.sum(2) - keep)[..., None]
        return (total * kept).sum(2) / keep

    def _poses(
        self, queries: Thumbnails, view: Int[Tensor, "q s"], roll: Int[Tensor, "q s"]
    ) -> Float[Tensor, "q s 4 4"]:
        """The known cameras turned to the known centroid, rolled, moved to the right distance, turned to the
        query's."""
        known = self.bank.thumbnails
        angle = roll.float() * (2 * torch.pi / ANGLES)
        zero, one = torch.zeros_like(angle), torch.ones_like(angle)
        about_axis = torch.stack(
            (angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero, zero, zero, one), dim=-1
        ).unflatten(-1, (3, 3))
        axis_from_known = axis_to_ray(known.ray[view]).transpose(-1, -2)
        query_from_axis = axis_to_ray(queries.ray)[:, None]
        further = self.bank.distance[view] * (known.size[view] / queries.size[:, None] - 1)
        push = torch.stack((zero, zero, further), dim=-1)
        pose = self.bank.cam_from_world[view]
        rotation = about_axis @ axis_from_known @ pose[..., :3, :3]
        translation = (about_axis @ axis_from_known @ pose[..., :3, 3:])[..., 0] + push
        return rigid(query_from_axis @ rotation, (query_from_axis @ translation[..., None])[..., 0])


def gallery_bank(views: Sequence[View], device: torch.device | str) -> Bank:
    """The training views themselves, before one color of their backdrop. They share one size."""
    views = before_one_color(views, measured_backdrop([view.image for view in views]))
    cameras = [view.camera for view in views]
    poses = torch.stack([camera.cam_from_world for camera in cameras])
    center = common_center(cameras)
    distance = (poses[:, :3, :3] @ center + poses[:, :3, 3]).norm(dim=1)
    thumbnails = make_thumbnails(torch.stack([view.image.to(device) for view in views]), cameras)
    return Bank(thumbnails, poses.to(device, torch.float32), distance.to(device, torch.float32))


def gallery_retriever(views: Sequence[View], device: torch.device | str) -> BankRetriever:
    """The nearest training views (`--retrieval nearest`)."""
    return BankRetriever(gallery_bank(views, device), "nearest")


def axis_to_ray(ray: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 3 3"]:
    """The smallest rotation that takes the optical axis (0, 0, 1) to the direction of (x, y, 1)."""
    direction = torch.cat((ray, torch.ones_like(ray[..., :1])), dim=-1)
    x, y, z = (direction / direction.norm(dim=-1, keepdim=True)).unbind(-1)
    cross = skew(torch.stack((-y, x, torch.zeros_like(x)), dim=-1))
    eye = torch.eye(3, dtype=ray.dtype, device=ray.device)
    return eye + cross + cross @ cross / (1 + z)[..., None, None]


def _spectrum(polar: Float[Tensor, "n c r a"], mean: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fourier transform over the angle of the thumbnails of unit length, and the roll-free mean that was taken off
    first: what all views of the object have in common says nothing about the view."""
    length = polar.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]
    unit = polar / length
    mean = unit.mean((0, 3), keepdim=True) if mean is None else mean
    unit = unit - mean
    unit = unit / unit.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None, None]
    return torch.fft.rfft(unit, dim=3).flatten(1, 2), mean


def _gain(query: Tensor, known: Tensor, either: Tensor) -> Float[Tensor, "q s"]:
    """Brightness of the query relative to the known view, held to what a lamp could do."""
    weight = either[:, :, None]
    return ((query * known * weight).sum((2, 3)) / (known * known * weight).sum((2, 3)).clamp_min(1e-6)).clamp(0.7, 1.4)


def _apart(poses: Float[Tensor, "s 4 4"], count: int) -> list[Tensor]:
    """The first `count` poses, in order, that are at least `_APART_DEG` from every one chosen before."""
    rotation = poses[:, :3, :3].flatten(1)
    cosine = (rotation @ rotation.T - 1) / 2  # of the angle between each two, by the trace of their product
    near = (cosine > math.cos(math.radians(_APART_DEG))).tolist()
    chosen: list[int] = []
    for i in range(len(poses)):
        if len(chosen) == count:
            break
        if not any(near[i][j] for j in chosen):
            chosen.append(i)
    return [poses[i] for i in chosen]
