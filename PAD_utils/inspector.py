"""Inspecting photographs from Python: a model of the good object, what is usual on it, and a threshold, in one object.

It trains nothing, and writes nothing but what `save` is asked for. Storing, resuming and reporting are in `run/`.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaussian_splatting.background import WHITE_BACKDROP, flattened, measured_backdrop
from gaussian_splatting.camera import Camera
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.memory import give_back
from gaussian_splatting.parallel import even_parts
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.types import PoseEstimate, Refiner, usual_distance
from gaussian_splatting.pose.verdict import PoseJudge
from gaussian_splatting.training.train import TrainResult
from gaussian_splatting.views import View
from PAD_utils.data.intrinsics import Lens, query_lens
from PAD_utils.errors import UserError
from PAD_utils.in_place import refine_in_place
from PAD_utils.inspect_config import InspectConfig, saved_config
from PAD_utils.inspector_files import Saved, read_inspector, write_inspector
from PAD_utils.pose.bank import bank_retriever
from PAD_utils.pose.localize import Localization, judging, localize, refine_uncut
from PAD_utils.pose.retrieval import BankRetriever, Retriever
from PAD_utils.score.calibration import NOT_LOCALISED, Calibration
from PAD_utils.score.cross_fit import by_fold
from PAD_utils.score.features import FAST_FEATURES, make_features
from PAD_utils.score.parts import PartDecision
from PAD_utils.score.pyramid import FeaturePyramid
from PAD_utils.score.recorded import RecordedScores
from PAD_utils.score.regions import Region, find_regions
from PAD_utils.score.transfer import to_device, to_host
from PAD_utils.score.usual import Comparer, Posed, Usual
from PAD_utils.taken import Photo, Taken, take

log = logging.getLogger(__name__)

# Of those that training saw, evenly spread: more would teach little and cost time, of which a CPU needs more.
_LEARNED_VIEWS = {"cpu": 96, "cuda": 224}
_SCORED_VIEWS = 60  # the same where a threshold is all that is learned, and each view costs a refinement
_PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class Comparison:
    """A photograph held against a good object at its pose: map (h, w) at the photograph's size, larger where it differs
    more; score, the maximum of the map; and the rendering of the good object."""

    map: Float[Tensor, "h w"]
    score: float
    rendering: UInt8[Tensor, "h w 3"]


@dataclass(frozen=True)
class Verdict(Comparison):
    """What is found of one photograph: the comparison, where the photograph was taken (`pose.camera`, world units), the
    regions above the threshold in pixels, and OK, DEFECT or NOT LOCALISED. It is a DEFECT exactly if there is a region.
    Without a threshold there are no regions and `decision` is None. At a pose that is not to be trusted there are no
    regions and the decision is NOT LOCALISED."""

    pose: PoseEstimate
    regions: list[Region]
    decision: str | None


@dataclass(frozen=True)
class OtherModels:
    """Models of the same part that help to judge. `folds`: those that `cross_fit` trained without a share of the views
    each, for a better idea of where good parts look odd; without views that were held out they also tell what a view
    scores that training did not see. `surroundings`: what `train_surroundings` learned from the photographs of
    cut-outs, so that a burr beside the part counts."""

    folds: Sequence[Gaussians] = ()
    surroundings: Gaussians | None = None


class Inspector:
    """Judges photographs by a trained model. What is usual on a good part is learned when it is first needed, from the
    good views, on the device of the model; it is not thread-safe.

    model: what `train` returned, or Gaussians. views: posed pictures of the good part that training saw (moved to where
    it found them); held_out: ones that it did not see, which make for better thresholds (`split` chooses some).
    features: "efficientnet-lite0", "gradient", a backbone of torchvision, or one's own. Raises UserError for unknown
    features.
    """

    def __init__(
        self,
        model: TrainResult | Gaussians,
        views: Sequence[View],
        features: str | FeaturePyramid = FAST_FEATURES,
        *,
        held_out: Sequence[View] = (),
        config: InspectConfig | None = None,
        retriever: Retriever | None = None,
        refiner: Refiner | None = None,
        others: OtherModels | None = None,
    ) -> None:
        if isinstance(model, TrainResult):
            views, model = model.aligned(views), model.gaussians
        self.gaussians = model.detached()
        self.device = self.gaussians.means.device
        self.views, self.held_out = list(views), list(held_out)
        self.config = config or InspectConfig()
        good = [view.image for view in (*self.views, *self.held_out)]
        self.backdrop = self.config.backdrop or (measured_backdrop(good) if good else WHITE_BACKDROP)
        uncut = any(view.uncut is not None for view in (*self.views, *self.held_out))
        self.cut_out = uncut if self.config.cut_out is None else self.config.cut_out
        self._focal_px = self.config.fitted_focal_px or (self.views[0].camera.fx if self.views else None)
        self.usual_distance = self.config.usual_distance
        if self.usual_distance is None and self.views:
            self.usual_distance = usual_distance(self.gaussians, [view.camera for view in self.views])
        self.refiner = refiner or GaussNewtonRefiner(
            fitted_focal_px=self._focal_px, usual_distance=self.usual_distance or 1.0
        )
        if self.config.most_unexplained is not None:
            self.refiner = judging(self.refiner, PoseJudge(self.config.most_unexplained))
        self.pyramid = make_features(features, device=self.device) if isinstance(features, str) else features
        can_record = RecordedScores.can(self.pyramid, self.config.score, self.device)
        self._recorded = RecordedScores(self.pyramid, self.config.score) if can_record else None
        self._retriever, self._others = retriever, others or OtherModels()
        self._elsewhere = False  # whether a photograph showed other surroundings than the good views
        self._usual: Usual | None = None
        self._calibration: Calibration | None = None

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the model go and gives its memory back. Programs that open one after the other so stay as large as one;
        the inspector is of no use any more."""
        device = self.device
        vars(self).clear()
        give_back(device)

    @property
    def lens(self) -> Lens:
        """The lens of photographs that nothing is said about."""
        return self.config.lens or Lens.of(self.views[0].camera)

    @property
    def retriever(self) -> Retriever:
        """What finds the first poses; without one given, a bank of renderings of the model, made when first needed."""
        if self._retriever is None:
            self._retriever = bank_retriever(self.gaussians, [*self.views, *self.held_out])
        return self._retriever

    @property
    def usual(self) -> Usual:
        """What the good views teach, learned when first needed."""
        if self._usual is None:
            self._usual = self._learn()
        return self._usual

    @property
    def calibration(self) -> Calibration | None:
        """The threshold; None, said once in the log, where there are too few good views for one."""
        if self._calibration is None:
            try:
                self._calibration = self.calibrate(self.config.false_alarm_rate)
            except ValueError as error:
                log.warning("no decisions: %s", error)
        return self._calibration

    def calibrate(self, false_alarm_rate: float) -> Calibration:
        """Sets the threshold that good parts exceed at this rate. Costs nothing once the good views have been scored.

        Raises ValueError unless the rate lies in (0, 1) and five good views could be localized.
        """
        self._calibration = self.usual.calibration(false_alarm_rate, self.config.score)
        self.config = replace(self.config, false_alarm_rate=false_alarm_rate)
        return self._calibration

    def inspect(self, photo: Photo) -> Verdict:
        """Judges one photograph: a file, or uint8 (h, w, 3) RGB. Raises ValueError for anything else."""
        return self.inspect_many([photo])[0]

    def inspect_many(self, photos: Iterable[Photo | Taken]) -> list[Verdict]:
        """`inspect` of several, those of one size together: faster on a GPU. One verdict per photograph, in order."""
        taken = [photo if isinstance(photo, Taken) else self.take(photo) for photo in photos]
        verdicts: dict[int, Verdict] = {}
        for some in batches([one.image for one in taken]):
            images, cameras, photographs = zip(*(taken[i] for i in some), strict=True)
            estimates = self.localize(torch.stack(images), cameras, torch.stack(photographs)).estimates
            compared = self.compare(photographs, estimates)
            verdicts |= {i: self.decide(c, e) for i, c, e in zip(some, compared, estimates, strict=True)}
        return [verdicts[i] for i in range(len(taken))]

    def take(self, photo: Photo, longest_px: int | None = None) -> Taken:
        """What `inspect_many` makes of a photograph first, which several threads may do at once. One whose longer side
        exceeds `longest_px` is shrunk to it. Raises ValueError as `inspect`."""
        return take(photo, self.lens, self.cut_out, longest_px)

    def localize(
        self,
        images: UInt8[Tensor, "q h w 3"],
        cameras: Sequence[Camera] | None = None,
        photographs: UInt8[Tensor, "q h w 3"] | None = None,
    ) -> Localization:
        """Where pictures of one size were taken, by cameras of these intrinsics; None: what `lens` tells. Learns first
        from the good views, which poses are not to be trusted.

        `photographs`: what cut-outs were made of, where the good views are cut-outs too.
        """
        _ = self.usual
        if cameras is None:
            height, width = images.shape[1:3]
            cameras = [query_lens(width, height, self.lens, None)[0].camera()] * len(images)
        flat, most = self._flat(images), self.config.hypotheses
        found = localize(self.gaussians, flat, cameras, self.retriever, self.refiner, most)
        if not self.cut_out or photographs is None:
            return found
        start, first = time.perf_counter(), [estimate.camera for estimate in found.estimates]
        estimates = self._refined_uncut(photographs, first, self.refiner)
        seconds = found.seconds_refine + time.perf_counter() - start
        return replace(found, estimates=estimates, seconds_refine=seconds)

    def compare(self, images: Sequence[UInt8[Tensor, "h w 3"]], estimates: Sequence[PoseEstimate]) -> list[Comparison]:
        """Holds pictures of one size against the good object at their poses."""
        usual = self.usual
        scores, renderings = self._comparer.compare(images, [estimate.camera for estimate in estimates], usual)
        maps, each, pictures = to_host(scores.maps, scores.image_scores, _as_bytes(renderings))
        return [Comparison(*row) for row in zip(maps, each.tolist(), pictures, strict=True)]

    def decide(self, compared: Comparison, pose: PoseEstimate) -> Verdict:
        """The verdict about a picture that was compared at this pose."""
        decision, regions = self.decision(compared.map, compared.score, pose)
        return Verdict(**vars(compared), pose=pose, regions=regions, decision=decision)

    def decision(
        self, scores: Float[Tensor, "h w"], score: float, pose: PoseEstimate
    ) -> tuple[str | None, list[Region]]:
        """Decision and regions of a map with this maximum, at this pose: see `Verdict`."""
        if self.calibration is None:
            return None if pose.converged else NOT_LOCALISED, []
        decision = self.calibration.decide(score, pose.converged)
        if decision == NOT_LOCALISED:
            return decision, []
        return decision, find_regions(scores.numpy(), self.calibration.threshold)

    def renderings(
        self, images: Sequence[UInt8[Tensor, "h w 3"]], estimates: Sequence[PoseEstimate]
    ) -> UInt8[Tensor, "b h w 3"]:
        """What `compare` holds pictures of one size against."""
        return _as_bytes(self._comparer.renderings(images, [estimate.camera for estimate in estimates])).cpu()

    def decide_part(self, maps: Sequence[Float[Tensor, "_ _"]], poses: Sequence[PoseEstimate]) -> PartDecision:
        """One decision about the part that photographs with these maps show, all of them at poses that can be trusted.
        Raises ValueError where there are too few good views for a threshold of as many photographs."""
        return self._comparer.decide_part(self.usual, self.calibration, maps, [pose.camera for pose in poses])

    def save(self, folder: Path | str) -> None:
        """Writes all that `load` needs into a folder: the model, the bank, what is usual, the threshold; no pictures.

        Learns first what has not been learned yet. Raises UserError when the place cannot be written to.
        """
        learned = self.usual, self.calibration  # first of all, for learning settles the configuration too
        config = replace(self.config, lens=self.lens, backdrop=self.backdrop, cut_out=self.cut_out)
        config = replace(config, fitted_focal_px=self._focal_px, usual_distance=self.usual_distance)
        bank = self.retriever.bank if isinstance(self.retriever, BankRetriever) else None
        parts = {"features": self.pyramid.name, "retriever": self.retriever.name, "refiner": self.refiner.name}
        saved = Saved(self.gaussians, bank, *learned, parts, asdict(config), self._others.surroundings)
        write_inspector(Path(folder), saved)

    @staticmethod
    def load(
        folder: Path | str,
        features: FeaturePyramid | None = None,
        *,
        retriever: Retriever | None = None,
        refiner: Refiner | None = None,
        device: torch.device | str = "cpu",
    ) -> "Inspector":
        """The inspector that `save` wrote to a folder. Features, retriever and refiner that `Inspector` does not choose
        by itself are not saved: give them again.

        Raises UserError, naming the file and the mend, when one is missing, damaged or of another version.
        """
        saved = read_inspector(Path(folder), torch.device(device))
        if retriever is None and saved.bank is not None:
            retriever = BankRetriever(saved.bank, saved.parts["retriever"])
        inspector = Inspector(
            saved.gaussians,
            [],
            features or saved.parts["features"],
            config=saved_config(saved.config),
            retriever=retriever,
            refiner=refiner,
            others=OtherModels(surroundings=saved.surroundings),
        )
        inspector._usual, inspector._calibration = saved.usual, saved.calibration
        given = {"features": inspector.pyramid, "retriever": retriever, "refiner": inspector.refiner}
        for part, name in saved.parts.items():
            if getattr(given[part], "name", None) != name:
                raise UserError(f"{folder} was saved with the {part} {name}: give Inspector.load the same, as {part}=")
        return inspector

    def _learn(self) -> Usual:
        """Views held out from training go through the same refinement as a photograph. Those that training saw are
        taken as it saw them, unless there are no others: then they are refined too, or each is judged by the model that
        did not see it, where there are such."""
        most = _LEARNED_VIEWS[self.device.type] if self.config.score.normalized else _SCORED_VIEWS
        numbers: Sequence[int] = range(0, len(self.views), max(1, -(-len(self.views) // most)))
        held_out = self._localized(self.held_out)
        refined = held_out or self._localized([self.views[i] for i in numbers])  # learns which poses to trust, too
        if not (held_out or (self._others.folds and self.config.score.normalized)):
            return self._comparer.learn(refined, [])
        strangers = by_fold(self.views, numbers, self._others.folds)
        if not held_out:
            judged = [Posed(view.photograph, view.camera, judged_by=model) for view, model in strangers]
            return self._comparer.learn([], judged)
        return self._comparer.learn([Posed(view.photograph, view.camera, model) for view, model in strangers], held_out)

    def _localized(self, views: Sequence[View]) -> list[Posed]:
        """Good views with their refined poses, without those that could not be refined. What they leave unexplained
        tells which poses of photographs are to be trusted."""
        if not views:
            return []
        refiner = judging(self.refiner, PoseJudge(1.0)) if self.config.most_unexplained is None else self.refiner
        estimates: dict[int, PoseEstimate] = {}
        for some in batches([view.image for view in views]):
            cameras = [views[i].camera for i in some]
            if self.cut_out:
                whole = torch.stack([views[i].photograph for i in some])
                found = self._refined_uncut(whole, cameras, refiner)
            else:
                images = to_device([flattened(views[i].image, self.backdrop.tolerance) for i in some], self.device)
                found = refiner.refine(self.gaussians, images, [[camera] for camera in cameras])
            estimates |= dict(zip(some, found, strict=True))
        limit = self.config.most_unexplained
        if limit is None:
            limit = PoseJudge.learned([estimate.unexplained for estimate in estimates.values()]).most_unexplained
            self.config = replace(self.config, most_unexplained=limit)
            self.refiner = judging(self.refiner, PoseJudge(limit))
        good = [
            Posed(view.photograph, estimates[i].camera)
            for i, view in enumerate(views)
            if estimates[i].converged and (estimates[i].unexplained or 0.0) <= limit
        ]
        if len(good) < len(views):
            log.warning("%d of %d good views could not be localized", len(views) - len(good), len(views))
        return good

    def _refined_uncut(
        self, photographs: UInt8[Tensor, "q h w 3"], cameras: Sequence[Camera], refiner: Refiner
    ) -> list[PoseEstimate]:
        """Poses on the photographs that cut-outs were made of; those that show other surroundings are told of once."""
        cut = refine_uncut(self.gaussians, photographs, cameras, refiner, self.backdrop.color)
        if (around := self._others.surroundings) is None:
            return cut
        found = refine_in_place(self.gaussians, around, photographs, cut, refiner, self.backdrop.color)
        if any(a is b for a, b in zip(cut, found, strict=True)) and not self._elsewhere:
            self._elsewhere = True
            log.warning(
                "some photographs show other surroundings than the good views: beside their part no burr is seen, and "
                "their poses rest on cut-outs; take them where the good views were taken"
            )
        return found

    def _flat(self, images: Iterable[UInt8[Tensor, "h w 3"]]) -> UInt8[Tensor, "q h w 3"]:
        """Pictures of one size without the folds and the shine of their backdrop."""
        return torch.stack([flattened(image, self.backdrop.tolerance) for image in images])

    @property
    def _comparer(self) -> Comparer:
        views, around = (self.backdrop, self.cut_out, self._focal_px), self._others.surroundings
        return Comparer(self.gaussians, self.pyramid, self.config.score, *views, self._recorded, around)


def _as_bytes(renderings: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b h w 3"]:
    return (renderings * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def batches(images: Sequence[Tensor], most: int = _PICTURES_AT_ONCE) -> list[list[int]]:
    """Which pictures go together: the indices of those of one size, at most `most` at once."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        by_size.setdefault(tuple(image.shape), []).append(i)
    return [group[part] for group in by_size.values() for part in even_parts(len(group), most)]
