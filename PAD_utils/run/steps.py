"""The first steps of the main job: pictures, model, inspector, poses. Each takes what the one before returned."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.parallel import parallel
from gaussian_splatting.ply import load_ply, save_ply
from gaussian_splatting.pose.adam import AdamRefiner
from gaussian_splatting.pose.gauss_newton import GaussNewtonRefiner
from gaussian_splatting.pose.types import PoseEstimate, Refiner, usual_distance
from gaussian_splatting.progress import progress
from gaussian_splatting.training.alignment import Shifts, moved_by
from gaussian_splatting.training.surroundings import SHORTER, train_surroundings
from gaussian_splatting.training.train import TrainConfig, train
from gaussian_splatting.views import View
from gaussian_splatting.world import USERS_WORLD, World
from PAD_utils.data.held_out import Gallery, split, split_by_name
from PAD_utils.data.intrinsics import Lens, LensSpec, read_lens
from PAD_utils.data.mad import ClassData, Sample, Source, load_class
from PAD_utils.errors import UserError
from PAD_utils.files import explaining
from PAD_utils.inspect_config import InspectConfig
from PAD_utils.inspector import Inspector, OtherModels, batches
from PAD_utils.pose.bank import bank_retriever
from PAD_utils.pose.localize import PICTURES_AT_ONCE
from PAD_utils.pose.loftr import loftr_retriever
from PAD_utils.pose.retrieval import Retriever, gallery_retriever
from PAD_utils.run.config import RunConfig
from PAD_utils.run.job import Job
from PAD_utils.run.ledger import describe_camera, fingerprint, fingerprint_file, fingerprint_pictures, fingerprint_views
from PAD_utils.run.outputs import PoseFile
from PAD_utils.score.anomaly import ScoreConfig
from PAD_utils.score.cross_fit import ENOUGH, FEW, FEWEST, FOLDS, FOLDS_OF_FEW, cross_fit, short
from PAD_utils.score.features import FAST_FEATURES, make_features
from PAD_utils.score.pyramid import FeaturePyramid

log = logging.getLogger(__name__)

_WEAKER_MODELS = f"{FOLDS_OF_FEW} weaker models, each trained without a sixth of them"
_FAR_OFF_PX = 5.0  # a pose that is further off may be another mistake than that of a calibration
_POOR_FIT_DB = 28.0  # PSNR on training pictures; real photographs reach 35
INSPECTOR = "inspector"  # the folder of what judges, below that of the model


@dataclass(frozen=True)
class Model:
    """The good object, the PLY file that holds it in the user's world and its content's hash, how it came about (None
    where an earlier program trained it), the names of the views that its training did not see, and the world that
    `gaussians` stand in. `gallery`: all posed pictures of it, those that training saw where it found them."""

    gaussians: Gaussians
    gallery: list[View]
    path: Path
    fingerprint: str
    train_psnr: float | None
    train_seconds: float | None
    held_out: Sequence[str] = ()
    world: World = USERS_WORLD


@dataclass(frozen=True)
class Poses:
    """One estimate per sample, and the seconds that one picture took on average."""

    estimates: list[PoseEstimate]
    retrieve_seconds: float
    refine_seconds: float


def load_views(job: Job) -> ClassData:
    """Step 1: the posed pictures of the good object, and the test set, but not where --images is judged. Raises
    UserError naming what is wrong."""
    config = job.config
    data = load_class(config.data_path, config.classname, source=source_of(config))
    log.info("%s", data.description)
    return data


def train_or_load(job: Job, gallery: list[View], world: World = USERS_WORLD) -> Model:
    """Step 2: the Gaussians, trained now, in an earlier run of the same configuration, or (-train 0) by anyone."""
    config = job.config
    training = TrainConfig.preset(config.preset, job.device.type, config.gauss_iters, config.sh_degree)
    path = job.ledger.folder / "point_cloud" / f"iteration_{training.iterations}" / "point_cloud.ply"
    if not config.train:
        path = path if path.exists() else newest_model(job.ledger.folder)
        return _model(job, gallery, path, job.ledger.last("train") or {}, world)
    views = split(gallery) if config.preset == "fast" and len(gallery) >= ENOUGH else Gallery(gallery, [])
    key = fingerprint(training.as_dict(), config.seed, fingerprint_views(views.seen), world)
    facts, said = job.ledger.find("train", key), len(job.warnings)
    checkpoint = job.ledger.folder / "checkpoint.pt"
    if facts is None or not path.exists():
        with explaining(job.ledger.folder):
            result = train(views.seen, training, device=job.device, seed=config.seed, checkpoint=checkpoint)
            save_ply(path, result.gaussians, world)
        _warn_of_training(config.preset, views, result.psnr)
        facts = {
            "psnr": result.psnr,
            "seconds": result.seconds,
            "held_out": [view.name for view in views.held_out],
            "shifts_px": _shifts_by_name(views.seen, result.shifts),
        }
        job.ledger.record("train", key, {**facts, "warnings": job.warnings[said:]})
    checkpoint.unlink(missing_ok=True)
    return _model(job, gallery, path, facts, world)


def _model(job: Job, gallery: list[View], path: Path, facts: dict[str, Any], world: World) -> Model:
    """The model of a file, and what is known of its training: nothing where another program trained it."""
    _warn_again(facts)
    shifts = facts.get("shifts_px") or {}
    moved = [view for view in gallery if view.name in shifts]
    if moved:
        of_moved = torch.tensor([shifts[view.name] for view in moved], dtype=torch.float64)
        placed = {view.name: view for view in moved_by(moved, of_moved)}
        gallery = [placed.get(view.name, view) for view in gallery]
    known = facts.get("psnr"), facts.get("seconds"), facts.get("held_out", ())
    return Model(_load_model(job, path, world), gallery, path, fingerprint_file(path), *known, world)


def _shifts_by_name(views: Sequence[View], shifts: Shifts | None) -> dict[str, list[float]]:
    """By how many pixels the object lies further right and down than the poses say, and a word of it to the user."""
    if shifts is None:
        return {}
    length = shifts.norm(dim=1)
    worst = int(length.argmax())
    said = "poses are %.1f px off in the pictures (median; most in %s: %.1f px), which training has set right"
    log.log(
        logging.WARNING if length[worst] > _FAR_OFF_PX else logging.INFO,
        *(said, length.median(), views[worst].name, length[worst]),
    )
    return {view.name: shift for view, shift in zip(views, shifts.tolist(), strict=True)}


def _warn_of_training(preset: str, views: Gallery, psnr: float) -> None:
    """What a user has to know of the pictures and of how well the model fits them."""
    if preset == "fast" and not views.held_out:
        few = len(views.seen) < FEWEST
        log.warning(
            "only %d training pictures: none can be held out, so the threshold rests on %s; take 30 or more",
            len(views.seen),
            "those that training saw, and no rate of false alarms can be promised" if few else _WEAKER_MODELS,
        )
    if psnr < _POOR_FIT_DB:
        log.warning(
            "the model fits its own training pictures badly (%.1f dB; %.0f and more is usual): look at poses, lens, "
            "masks and the outlines of cut-outs",
            *(psnr, _POOR_FIT_DB),
        )


def load_samples(job: Job, data: ClassData) -> list[Sample]:
    """Step 3: the test set. Raises UserError when there is none."""
    if not data.test:
        raise UserError(f"{data.root / 'test'} holds no pictures; put some there, or inspect others with --images")
    return data.test


def load_features(job: Job) -> FeaturePyramid:
    """What --features asks for, or the fallback. Raises UserError for an unknown name, or weights that do not fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        pyramid = features_of(job.config, job.device)
    for warning in caught:
        log.warning("%s", warning.message)
    return pyramid


def features_of(config: RunConfig, device: torch.device) -> FeaturePyramid:
    """As `load_features`; the fallback is a UserWarning."""
    return make_features(config.features or FAST_FEATURES, config.weights, device, half=config.preset != "paper")


def open_inspector(job: Job, model: Model, pyramid: FeaturePyramid, lens: Lens | None = None) -> Inspector:
    """Step 4: what finds poses and judges, made now and saved, or read as an earlier run with the same model, views and
    configuration saved it. The rate of false alarms may be another one. `lens` as that of InspectConfig."""
    config, folder, refiner = job.config, job.ledger.folder / INSPECTOR, make_refiner(job, model)
    score = ScoreConfig.paper() if config.preset == "paper" else ScoreConfig.fast()
    setting = InspectConfig(score, config.hypotheses, config.false_alarm_rate, lens, model.world)
    weights = config.weights and fingerprint_file(config.weights)
    asked = asdict(replace(setting, false_alarm_rate=0.0)), pyramid.name, weights, config.refiner, config.k
    known = model.fingerprint, fingerprint_views(model.gallery), list(model.held_out), _retrieval(job)
    key = fingerprint(*asked, *known)
    facts = job.ledger.find("inspector", key)
    if facts is not None:
        retriever = make_retriever(job, model) if config.retrieval == "loftr" else None
        try:
            inspector = Inspector.load(folder, pyramid, retriever=retriever, refiner=refiner, device=job.device)
        except UserError as error:
            log.warning("%s: it is made anew", error)
        else:
            _warn_again(facts)
            if inspector.config.false_alarm_rate != config.false_alarm_rate and inspector.calibration is not None:
                inspector.calibrate(config.false_alarm_rate)
            return inspector
    views, said = split_by_name(model.gallery, model.held_out), len(job.warnings)
    began = time.perf_counter()
    surroundings = make_surroundings(job, model, views.seen)
    surrounded = time.perf_counter()
    folds, retriever = make_folds_and_retriever(job, model, views, score)
    folded = time.perf_counter()
    inspector = Inspector(
        model.gaussians, views.seen, pyramid, held_out=views.held_out, config=setting, retriever=retriever,
        refiner=refiner, others=OtherModels(folds, surroundings),
    )  # fmt: skip
    inspector.save(folder)
    seconds = {"cross_fitting": folded - surrounded, "calibration": time.perf_counter() - folded}
    if surroundings is not None:
        seconds["surroundings"] = surrounded - began
    job.ledger.record("inspector", key, {"warnings": job.warnings[said:], "seconds": seconds})
    return inspector


def make_surroundings(job: Job, model: Model, views: Sequence[View]) -> Gaussians | None:
    """A model of what cut-outs were cut out of, where this run trains on some that hold their photographs."""
    config = job.config
    if not config.train or config.preset != "fast" or not views or any(v.uncut is None for v in views):
        return None
    whole = TrainConfig.preset(config.preset, job.device.type, config.gauss_iters, config.sh_degree)
    iterations = max(1, whole.iterations // SHORTER)
    training = TrainConfig.preset(config.preset, job.device.type, iterations, config.sh_degree)
    return train_surroundings(model.gaussians, views, training, device=job.device, seed=config.seed)


def make_folds_and_retriever(
    job: Job, model: Model, views: Gallery, score: ScoreConfig
) -> tuple[list[Gaussians], Retriever]:
    """Both; on a GPU, which neither of them fills, side by side."""
    makers: list[Callable[[], Any]] = [lambda: make_folds(job, views, score), lambda: make_retriever(job, model)]

    def on_device(make: Callable[[], Any]) -> Any:
        with torch.cuda.device(job.device):
            return make()

    folds, retriever = parallel(on_device, makers) if job.device.type == "cuda" else [make() for make in makers]
    return folds, retriever


def make_folds(job: Job, views: Gallery, score: ScoreConfig) -> list[Gaussians]:
    """Models for cross-fitting, where this run trains on a GPU or on few views. Those of many, on a CPU, would take a
    quarter of the time of training and find nothing more."""
    config, count, judging = job.config, len(views.seen), not views.held_out
    if not config.train or config.preset != "fast" or (judging and count < FEWEST):
        return []
    if count >= FEW and job.device.type != "cuda":
        return []
    whole = TrainConfig.preset(config.preset, job.device.type, config.gauss_iters, config.sh_degree)
    training = TrainConfig.preset(config.preset, job.device.type, short(whole.iterations, count), config.sh_degree)
    return cross_fit(views.seen, training, score, job.device, config.seed, FOLDS_OF_FEW if judging else FOLDS)


def seconds_of_model(job: Job, model: Model) -> dict[str, float | None]:
    """What metrics.json says of how long it took until photographs could be judged; None: not known to this folder."""
    known = (job.ledger.last("inspector") or {}).get("seconds", {})
    return {
        "train": model.train_seconds,
        **{stage: known.get(stage) for stage in ("surroundings", "cross_fitting", "calibration")},
    }


def given_poses_off_px(job: Job) -> dict[str, float] | None:
    """By how many pixels training moved its views, median and worst; None: it took the poses as they were given."""
    shifts = (job.ledger.last("train") or {}).get("shifts_px")
    if not shifts:
        return None
    lengths = torch.tensor(list(shifts.values()), dtype=torch.float64).norm(dim=1)
    return {"median": lengths.median().item(), "worst": lengths.max().item()}


def localize_samples(job: Job, model: Model, inspector: Inspector, samples: list[Sample]) -> Poses:
    """Step 5: where every sample was photographed from. What is done is kept if the run is interrupted."""
    config, pictures = job.config, [sample.image for sample in samples]
    setting = config.refiner, config.k, config.hypotheses, _retrieval(job)
    known = model.fingerprint, fingerprint_views(model.gallery), fingerprint_pictures(pictures)
    key = fingerprint(setting, *known, [(sample.key, describe_camera(sample.intrinsics)) for sample in samples])
    file = PoseFile(job.folder, key, {s.key: s.intrinsics for s in samples}, model.world)
    todo = [sample for sample in samples if sample.key not in file.estimates]
    with progress(desc="localize", total=len(todo)) as bar:
        for some in batches([sample.image for sample in todo], PICTURES_AT_ONCE):  # saved after each
            pictures = [torch.stack([getattr(todo[i], kind) for i in some]) for kind in ("image", "photograph")]
            found = inspector.localize(pictures[0], [todo[i].intrinsics for i in some], pictures[1])
            file.add([todo[i].key for i in some], found.estimates, found.seconds_retrieve, found.seconds_refine)
            bar.update(len(some))
    file.finish([sample.key for sample in samples])
    lost = [s.key for s in samples if not file.estimates[s.key].converged]
    if lost:
        log.warning(
            "%d of %d pictures could not be localized (first: %s). Are they of this object, on a plain background, and "
            "is the field of view right?",
            *(len(lost), len(samples), lost[0]),
        )
    count = max(1, len(samples))
    return Poses([file.estimates[s.key] for s in samples], file.retrieve_seconds / count, file.refine_seconds / count)


def make_retriever(job: Job, model: Model) -> Retriever:
    """What --retrieval asks for. Raises UserError when LoFTR lacks kornia or its checkpoint."""
    if job.config.retrieval == "nearest":
        return gallery_retriever(model.gallery, job.device)
    if job.config.retrieval == "bank":
        return bank_retriever(model.gaussians, model.gallery)
    return loftr_retriever(model.gallery, job.config.loftr_weights, job.device)


def make_refiner(job: Job, model: Model) -> Refiner:
    """What --refiner asks for, for a model that was fitted to its views."""
    if job.config.refiner == "adam":
        return AdamRefiner(job.config.k)
    distance = usual_distance(model.gaussians, [view.camera for view in model.gallery])
    return GaussNewtonRefiner(fitted_focal_px=model.gallery[0].camera.fx, usual_distance=distance)


def photo_lens(job: Job, data: ClassData) -> Lens:
    """The lens of photographs that nothing is said about, as large as it was described for."""
    given = source_of(job.config).query_lens
    return data.lens if given is None else given.lens(*given.size(data.lens.width, data.lens.height))


def source_of(config: RunConfig) -> Source:
    """Where the pictures of the class and the photographs come from, as the command line says."""
    lens = None if config.camera is None else read_lens(config.camera)
    if config.camera_angle_x is not None:
        lens = LensSpec({"camera_angle_x": config.camera_angle_x}, "--camera_angle_x")
    return Source(config.resolution, config.rad_data_path, lens, with_tests=config.images is None)


def _retrieval(job: Job) -> tuple[str | None, str | None]:
    """Which retrieval, and the content of the weights that it is told to use."""
    weights = job.config.loftr_weights
    used = weights is not None and weights.is_file() and job.config.retrieval == "loftr"
    return job.config.retrieval, fingerprint_file(weights) if weights is not None and used else None


def _load_model(job: Job, path: Path, world: World) -> Gaussians:
    try:
        return load_ply(path, world).to(job.device)
    except ValueError as error:
        raise UserError(f"{error}; remove the file and train again with -train 1") from error


def newest_model(folder: Path) -> Path:
    """The model of the most iterations. Raises UserError when there is none."""
    models = {p.parent.name.partition("_")[2]: p for p in folder.glob("point_cloud/iteration_*/point_cloud.ply")}
    numbered = {int(number): path for number, path in models.items() if number.isdecimal()}
    if not numbered:
        raise UserError(f"{folder} holds no point_cloud/iteration_<N>/point_cloud.ply; train first, with --train 1")
    return numbered[max(numbered)]


def _warn_again(facts: dict[str, Any]) -> None:
    """What was warned of when a stage was done holds as long as its result is used."""
    for line in facts.get("warnings", ()):
        log.warning("%s", line)
