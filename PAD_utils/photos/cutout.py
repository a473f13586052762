"""The part cut out of a room: GrabCut in every view, made to agree through a visual hull, then by place (`scene_cut`).

Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004; Laurentini, "The Visual Hull Concept", PAMI 1994. The colors of
part and surroundings are learned from all views together, since the surroundings seen beside the part in one view are
seen alone in others; what lies below the table that the part stands on is never the part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from gaussian_splatting.camera import Camera
from gaussian_splatting.parallel import parallel
from PAD_utils.photos.scene_cut import Place, cut_by_place, tidied
from PAD_utils.photos.table import differing, find_table

_VOXELS = 72  # along each side of the cube about the part
_MOSAIC_PX = 120  # the longest side of a view where colors are learned
_REACH = 1.35  # radii of the part beyond which nothing of it is looked for
_CORE = 0.6  # radii within which pixels are first taken to show it
_VOTES = 0.85  # of the views that a voxel of the hull must lie inside
_ROUNDS = 2
_NO_BOX = (0, 0, 0, 0)  # seeds say more than a box
_SEED = 0
_PLANE_WIDTH = 0.012  # of the cameras' distance: points so near a plane lie on it
_FEWEST_POINTS = 40
_FRAME_SHARE = 0.7  # of half the frame: the part's radius where points do not tell it
_LEAST_SHARE = 0.4  # of half the frame: a part that is smaller would hardly have been photographed so
_OUTLINE_PX = 2  # by which a cut by place may be wrong
_GROW_PX = 2  # about the hull, in which the outline may lie
_EDGE_SHARE = 0.03  # of a query's shorter side: along its border there is no part
_HOLE_SHARE = 0.04  # of a query's part: larger holes show what is behind it
_ODD_IOU = 0.8  # views that agree less with the hull are named
_ALIKE_IOU = 0.6  # a cut by place that has less in common with the cut by colors is another thing
_BY_COLOR, _BY_PLACE = "GrabCut and hull", "by its place in a model of the scene"
Mask = Bool[np.ndarray, "h w"]
Vec3 = Float[np.ndarray, "3"]


@dataclass(frozen=True)
class CutOut:
    """The part in every view, how well each agrees with the hull of all (intersection over union), GrabCut's color
    models of surroundings and part, and how the part was told from them."""

    masks: list[Mask]
    agreement: list[float]
    colors: list[list[float]]
    how: str = _BY_COLOR

    @property
    def holds(self) -> bool:
        """Whether the views agree at all; otherwise the cut-out is not to be used."""
        return bool(self.masks) and _agree(self.agreement)


def cut_out(pictures: Sequence[UInt8[np.ndarray, "h w c"]], cameras: Sequence[Camera], points: np.ndarray) -> CutOut:
    """The part in pictures (BGR) of the cameras' sizes. `points` (n, 3): of structure from motion, may be none."""
    center, radius, table = _place(cameras, points)
    where = _Volume(cameras, center, radius, table)
    colors = [np.ascontiguousarray(picture[..., :3]) for picture in pictures]
    masks = _by_colors(where, colors, _against_table(colors, cameras, center, radius, table))
    agreement, how = where.agreement(masks), _BY_COLOR
    if table is not None and len({picture.shape for picture in pictures}) == 1:
        place, known = Place(center, radius, table), _agree(agreement)
        start = where.surface(where.hull(masks)) if known else where.within(1.0)
        placed = cut_by_place(colors, cameras, place, where.points(start), masks if known else None)
        placed = _outlined(colors, placed)
        of_placed = where.agreement(placed)
        if _agree(of_placed) and (not known or _agree(list(map(_iou, placed, masks)), _ALIKE_IOU)):
            masks, agreement, how = placed, of_placed, _BY_PLACE
    if not agreement:
        return CutOut([], [], [])
    return CutOut(masks, agreement, learned_colors(pictures, masks), how)


def _by_colors(
    where: "_Volume", pictures: Sequence[UInt8[np.ndarray, "h w 3"]], seen: Sequence[tuple[Mask, Mask]]
) -> list[Mask]:
    """GrabCut in every view, held together by the hull; no masks where there is none. `seen`: where each view differs
    from the empty table, and where it shows it."""
    pictures = [cv2.cvtColor(picture, cv2.COLOR_BGR2LAB) for picture in pictures]
    allowed, likely = where.within(_REACH), where.within(_CORE)
    for _ in range(_ROUNDS):
        may = [where.shown(allowed, view, _GROW_PX) for view in range(len(pictures))]
        core = [where.shown(likely, view, 0) for view in range(len(pictures))]
        masks = _grab_cuts(pictures, [_seed(*parts) for parts in zip(may, core, seen, strict=True)])
        masks = [mask | (m & differs) for mask, m, (differs, _) in zip(masks, may, seen, strict=True)]
        likely = where.hull(masks)
        allowed = ndimage.binary_dilation(likely, iterations=2) & where.above
        if not likely.any():
            return []
    return [tidied(mask & where.shown(likely, view, _GROW_PX)) for view, mask in enumerate(masks)]


def _outlined(pictures: Sequence[UInt8[np.ndarray, "h w 3"]], masks: Sequence[Mask]) -> list[Mask]:
    """The masks, their outlines where the colors change within a few pixels of them."""
    size = np.ones((2 * _OUTLINE_PX + 1,) * 2, np.uint8)
    seeds = []
    for mask in masks:
        part = mask.astype(np.uint8)
        may = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        seed = np.where(cv2.dilate(part, size) > 0, may, cv2.GC_BGD)
        seeds.append(np.where(cv2.erode(part, size) > 0, cv2.GC_FGD, seed).astype(np.uint8))
    pictures = [cv2.cvtColor(picture, cv2.COLOR_BGR2LAB) for picture in pictures]
    return [tidied(mask) for mask in _grab_cuts(pictures, seeds)] if seeds else []


def _agree(shares: Sequence[float], least: float = _ODD_IOU) -> bool:
    return bool(shares) and float(np.median(shares)) > least


def learned_colors(pictures: Sequence[UInt8[np.ndarray, "h w c"]], masks: Sequence[Mask]) -> list[list[float]]:
    """GrabCut's color models of surroundings and part, of pictures (BGR) and where they show the part."""
    colors = [cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_BGR2LAB) for picture in pictures]
    marks = [np.where(mask, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8) for mask in masks]
    return [model.ravel().tolist() for model in _shared_colors(colors, marks)]


def cut_by_color(picture: UInt8[np.ndarray, "h w c"], colors: Sequence[Sequence[float]]) -> Mask:
    """The part in a picture (BGR) of unknown pose, by the color models of a `CutOut`: the largest piece, without
    small holes, which may be defects."""
    height, width = picture.shape[:2]
    seed = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    edge = max(1, round(_EDGE_SHARE * min(height, width)))
    seed[:edge] = seed[-edge:] = cv2.GC_BGD
    seed[:, :edge] = seed[:, -edge:] = cv2.GC_BGD
    cv2.setRNGSeed(_SEED)
    lab = cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_BGR2LAB)
    surroundings, part = (np.array(model)[None] for model in colors)
    cv2.grabCut(lab, seed, _NO_BOX, surroundings, part, 1, cv2.GC_EVAL_FREEZE_MODEL)
    labels, count = ndimage.label((seed == cv2.GC_FGD) | (seed == cv2.GC_PR_FGD))
    if count == 0:
        return np.ones((height, width), bool)
    part_mask = np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
    holes, _ = ndimage.label(ndimage.binary_fill_holes(part_mask) & ~part_mask)
    small = np.flatnonzero(np.bincount(holes.ravel()) < _HOLE_SHARE * part_mask.sum())
    return part_mask | (np.isin(holes, small) & (holes > 0))


def odd_ones(names: Sequence[str], cut: CutOut) -> list[str]:
    """Names of the views whose mask disagrees with the hull of all."""
    return [name for name, iou in zip(names, cut.agreement, strict=True) if iou < _ODD_IOU]


def enlarged(mask: Mask, width: int, height: int) -> UInt8[np.ndarray, "h2 w2"]:
    """A mask as the alpha of a larger picture, soft along its outline."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
    return np.asarray(np.round(255 * cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)), np.uint8)


class _Volume:
    """A cube of voxels about the part, and the pixel in which each view shows each voxel."""

    def __init__(self, cameras: Sequence[Camera], center: Vec3, radius: float, table: np.ndarray | None) -> None:
        side = (np.arange(_VOXELS) + 0.5) / _VOXELS * 2 - 1
        offsets = np.stack(np.meshgrid(side, side, side, indexing="ij"), -1) * _REACH * radius
        self._distance = np.linalg.norm(offsets, axis=-1) / radius
        voxels = self._voxels = (offsets + center).reshape(-1, 3)
        spacing = 2 * _REACH * radius / _VOXELS
        above = np.ones(len(voxels), bool) if table is None else voxels @ table[:3] + table[3] > 0.5 * spacing
        self.above = above.reshape(self._distance.shape)
        self._sizes = [(camera.height, camera.width) for camera in cameras]
        self._pixels = [_pixel_of(voxels, camera) for camera in cameras]
        depths = [float((camera.cam_from_world.numpy() @ np.append(center, 1))[2]) for camera in cameras]
        self._footprints = [
            max(1, round(spacing * camera.fx / depth / 2 + 0.5)) for camera, depth in zip(cameras, depths, strict=True)
        ]

    def within(self, radii: float) -> Bool[np.ndarray, "x y z"]:
        """The voxels of a ball about the part, above the table."""
        return (self._distance <= radii) & self.above

    def shown(self, voxels: Bool[np.ndarray, "x y z"], view: int, grow_px: int) -> Mask:
        """Where a view shows these voxels, grown by some pixels."""
        mask: np.ndarray = np.zeros(self._sizes[view], np.uint8)
        pixels = self._pixels[view][voxels.ravel()]
        mask.ravel()[pixels[pixels >= 0]] = 1
        size = 2 * self._footprints[view] + 1
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
        return np.asarray(cv2.dilate(mask, np.ones((2 * grow_px + 1,) * 2, np.uint8)) > 0)

    def hull(self, masks: Sequence[Mask]) -> Bool[np.ndarray, "x y z"]:
        """The largest connected piece of the voxels that nearly all views, of those that see them, show as the part."""
        inside = np.zeros(self._distance.size, np.int32)
        seen = np.zeros(self._distance.size, np.int32)
        for mask, pixels in zip(masks, self._pixels, strict=True):
            seen += pixels >= 0
            inside += mask.ravel()[pixels] & (pixels >= 0)
        solid = (inside >= _VOTES * seen) & (seen >= 0.5 * len(masks))
        labels, count = ndimage.label(solid.reshape(self._distance.shape) & self.above)
        if count == 0:
            return np.zeros(self._distance.shape, bool)
        return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())

    def agreement(self, masks: Sequence[Mask]) -> list[float]:
        """How well each mask agrees with the hull of all (intersection over union); nothing where there is no hull."""
        hull = self.hull(masks) if masks else np.zeros(0, bool)
        if not hull.any():
            return []
        return [_iou(mask, self.shown(hull, view, 0)) for view, mask in enumerate(masks)]

    def points(self, voxels: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "n 3"]:
        """The middles of these voxels."""
        return np.asarray(self._voxels[voxels.ravel()])

    @staticmethod
    def surface(voxels: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Those that others do not surround."""
        return np.asarray(voxels & ~ndimage.binary_erosion(voxels))


def _place(cameras: Sequence[Camera], points: np.ndarray) -> tuple[Vec3, float, np.ndarray | None]:
    """Center and radius of the part, and the table (a, b, c, d; positive above it) where there is one."""
    distance = float(np.median([camera.center.norm() for camera in cameras]))
    frame = float(np.median([min(c.width / c.fx, c.height / c.fy) / 2 for c in cameras])) * distance
    near = points[np.linalg.norm(points, axis=1) < frame]
    table = find_table(near, _PLANE_WIDTH * distance)
    on_it = near if table is None else near[near @ table[:3] + table[3] > 2 * _PLANE_WIDTH * distance]
    if len(on_it) < _FEWEST_POINTS:
        return np.zeros(3), _FRAME_SHARE * frame, table
    center = (np.percentile(on_it, 5, axis=0) + np.percentile(on_it, 95, axis=0)) / 2
    return center, max(float(np.percentile(np.linalg.norm(on_it - center, axis=1), 95)), _LEAST_SHARE * frame), table


def _pixel_of(voxels: Float[np.ndarray, "n 3"], camera: Camera) -> Int[np.ndarray, "n"]:
    """The flat index of the pixel that shows each voxel; -1 outside of the picture."""
    pose = camera.cam_from_world.numpy()
    x, y, z = (voxels @ pose[:3, :3].T + pose[:3, 3]).T
    u = np.floor(camera.fx * x / z + camera.cx).astype(np.int32)
    v = np.floor(camera.fy * y / z + camera.cy).astype(np.int32)
    valid = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return np.where(valid, v * camera.width + u, -1)


def _against_table(
    pictures: Sequence[np.ndarray], cameras: Sequence[Camera], center: Vec3, radius: float, table: np.ndarray | None
) -> list[tuple[Mask, Mask]]:
    """Where each view differs from the empty table, and where it shows it; nowhere without a table."""
    if table is None:
        return [(np.zeros(p.shape[:2], bool), np.zeros(p.shape[:2], bool)) for p in pictures]
    return differing(pictures, cameras, table, radius)


def _seed(may: Mask, core: Mask, against_table: tuple[Mask, Mask]) -> UInt8[np.ndarray, "h w"]:
    """What GrabCut starts from: the table tells where it is to be seen, the place of the part elsewhere."""
    differs, shown = against_table
    part = np.where(shown, differs, core)
    return np.where(may, np.where(part, cv2.GC_PR_FGD, cv2.GC_PR_BGD), cv2.GC_BGD).astype(np.uint8)


def _grab_cuts(pictures: Sequence[np.ndarray], seeds: Sequence[np.ndarray]) -> list[Mask]:
    """GrabCut of every view with the colors of all."""
    models = _shared_colors(pictures, seeds)

    def cut(pair: tuple[np.ndarray, np.ndarray]) -> Mask:
        picture, mask = pair[0], pair[1].copy()
        cv2.setRNGSeed(_SEED)
        cv2.grabCut(picture, mask, _NO_BOX, models[0].copy(), models[1].copy(), 1, cv2.GC_EVAL_FREEZE_MODEL)
        return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))

    return parallel(cut, list(zip(pictures, seeds, strict=True)))


def _shared_colors(pictures: Sequence[np.ndarray], seeds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The color models of surroundings and part, learned on a strip of all views made small."""
    small, marks = [], []
    for picture, seed in zip(pictures, seeds, strict=True):
        scale = min(1.0, _MOSAIC_PX / max(picture.shape[:2]))
        size = (_MOSAIC_PX, max(1, round(scale * picture.shape[0] * _MOSAIC_PX / (scale * picture.shape[1]))))
        small.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        marks.append(cv2.resize(seed, size, interpolation=cv2.INTER_NEAREST))
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(_SEED)
    cv2.grabCut(np.concatenate(small), np.concatenate(marks), _NO_BOX, models[0], models[1], 3, cv2.GC_INIT_WITH_MASK)
    return models


def _iou(a: Mask, b: Mask) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0
