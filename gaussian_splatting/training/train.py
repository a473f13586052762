"""Training: pictures in, Gaussians out. What happens when is in schedule.py, one step of it in an engine."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from gaussian_splatting.background import WHITE_BACKDROP, Backdrop, Color, measured_backdrop
from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.progress import on_terminal, progress
from gaussian_splatting.quality import mean_psnr
from gaussian_splatting.training.alignment import Aligner, Shifts, moved_by
from gaussian_splatting.training.checkpoint import Checkpoint, Record, fingerprint, load_checkpoint, save_checkpoint
from gaussian_splatting.training.density import (
    clone_and_split,
    grow_sh,
    mean_gradient,
    prune,
    reset_opacities,
    split_long_axis,
)
from gaussian_splatting.training.engine import make_engine
from gaussian_splatting.training.exposure import Exposures, ExposureSolver, corrected
from gaussian_splatting.training.initialize import NoHull, object_pixels, random_cube, visual_hull
from gaussian_splatting.training.schedule import BUDGET_POWER, TrainConfig, camera_extent, learning_rates, view_order
from gaussian_splatting.training.state import Engine, LossConfig, TrainingState
from gaussian_splatting.views import View, before, before_one_color, check_sizes

__all__ = ["TrainConfig", "TrainResult", "first_gaussians", "train"]

log = logging.getLogger(__name__)

_TICK = 100  # iterations between two lines of progress
_TURN = 10  # iterations before one color, then as many before the other, where cut-outs are trained on
_SAVE_SECONDS = 10.0  # between two checkpoints
_PSNR_VIEWS = 20  # training views that the final PSNR is the mean of
_RESET_OPACITY = 0.01  # 3DGS


@dataclass(frozen=True)
class TrainResult:
    """The model on the training device, its PSNR on training views (dB), the seconds that training took (without
    evaluation), one record per tick: iteration, seconds, loss, gaussians, and psnr if there are evaluate_views; the
    backdrop that the pictures showed, the exposure that each view was found to have, and by how many pixels the object
    lies further right and down in it than the given pose says (None: poses were taken as they are)."""

    gaussians: Gaussians
    psnr: float
    seconds: float
    history: list[Record]
    backdrop: Backdrop = WHITE_BACKDROP
    exposures: Exposures | None = None
    shifts: Shifts | None = None

    def aligned(self, views: Sequence[View]) -> list[View]:
        """The views that training was given, with their cameras where it found them."""
        return list(views) if self.shifts is None else moved_by(views, self.shifts)


def train(
    views: Sequence[View],
    config: TrainConfig,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    checkpoint: Path | None = None,
    evaluate_views: Sequence[View] | None = None,
    start: Gaussians | None = None,
    name: str = "train",
) -> TrainResult:
    """Fits Gaussians to the views. On the CPU the same arguments give the same bits, interrupted and resumed or not.

    With `checkpoint`, progress is kept in that file and an interrupted run goes on from it; it is left in place.
    `start`: what to begin with instead of `first_gaussians` of the views; the same one for runs of one checkpoint.
    Progress is shown under `name`.
    Raises ValueError if there are no views, or their sizes differ.
    """
    if not views:
        raise ValueError("training needs at least one view")
    check_sizes(views)
    run = _Run.start(list(views), config, torch.device(device), seed, checkpoint, start)
    run.go_on(before_one_color(evaluate_views or [], run.backdrop), name)
    sample = run.corrected_views(run.loss.background)[:: max(1, len(views) // _PSNR_VIEWS)]
    model = run.state.gaussians()
    psnr = mean_psnr(model, sample, run.loss.background)
    shifts = run.shifts if run.shifts.any() else None
    return TrainResult(model, psnr, run.seconds, run.history, run.backdrop, run.exposures, shifts)


@dataclass
class _Run:
    """A training run under way."""

    given: list[View]
    config: TrainConfig
    backdrop: Backdrop
    loss: LossConfig
    seed: int
    engines: list[Engine]  # one for each of `backgrounds`
    backgrounds: list[Color]
    state: TrainingState
    extent: float
    budget: int
    checkpoint: Path | None
    fingerprint: str
    exposures: Exposures
    shifts: Shifts
    warned: list[str]
    iteration: int = 0
    seconds: float = 0.0
    history: list[Record] = field(default_factory=list)
    level: tuple[int, int] = (0, 0)
    exposure_solver: ExposureSolver | None = None
    pictures: dict[Color, list[View]] = field(default_factory=dict)  # what `corrected_views` made

    def __post_init__(self) -> None:
        self.aligner = Aligner(self.given, self.loss.background)
        self.views = moved_by(self.given, self.shifts)

    @staticmethod
    def start(
        views: list[View], config: TrainConfig, device: torch.device, seed: int, checkpoint: Path | None,
        start: Gaussians | None,
    ) -> "_Run":  # fmt: skip
        began = time.perf_counter()
        mark = fingerprint(config.as_dict(), seed, views) if checkpoint else ""
        saved = load_checkpoint(checkpoint, mark, device) if checkpoint else None
        backdrop, views = _before_backdrop(views, config)
        budget = _budget(views, config, backdrop)
        warned = saved.warned if saved else []
        if saved:
            state = saved.state
        else:
            first = _first(views, config, device, seed, budget, backdrop, warned) if start is None else start
            state = TrainingState.start(first.to(device))
        for warning in warned:  # a run that goes on says again what holds of its result
            log.warning("%s", warning)
        exposures = saved.exposures if saved else Exposures.equal(len(views))
        shifts = saved.shifts if saved else torch.zeros(len(views), 2, dtype=torch.float64)
        loss = replace(config.loss, background=backdrop.color)
        backgrounds, extent = _backgrounds(views, backdrop.color), camera_extent(views)
        engines = [make_engine(device) for _ in backgrounds]
        for engine in engines:
            engine.expect(budget)
        run = _Run(
            views, config, backdrop, loss, seed, engines, backgrounds, state, extent, budget, checkpoint, mark,
            exposures, shifts, warned,
        )  # fmt: skip
        if saved:
            log.info("training goes on after %d iterations", saved.iteration)
            run.iteration, run.seconds, run.history = saved.iteration, saved.seconds, saved.history
        run.seconds += time.perf_counter() - began
        return run

    def go_on(self, evaluate_views: Sequence[View], name: str) -> None:
        """Runs from the present iteration to the last."""
        order = view_order(len(self.views), self.config, _generator(self.seed, 0))
        rates = learning_rates(self.config, self.given)
        loss_sum, loss_steps, saved = 0.0, 0, time.perf_counter()
        with progress(desc=name, total=self.config.iterations, initial=self.iteration) as bar:
            for stop in self.config.stops(_TICK):
                if stop <= self.iteration:
                    continue
                began = time.perf_counter()
                self._set_level()
                loss = self._advance(stop, order, rates)
                loss_sum, loss_steps = loss_sum + loss * (stop - self.iteration), loss_steps + stop - self.iteration
                bar.update(stop - self.iteration)
                self.iteration = stop
                self._change_density()
                self._match_exposures()
                self._align()
                self.seconds += time.perf_counter() - began
                if stop % _TICK == 0 or stop == self.config.iterations:
                    self._record(loss_sum / loss_steps, evaluate_views, bar)
                    loss_sum, loss_steps = 0.0, 0
                    if self.checkpoint and time.perf_counter() - saved > _SAVE_SECONDS:
                        self._save(self.checkpoint)
                        saved = time.perf_counter()
        if self.checkpoint:
            self._save(self.checkpoint)

    def _advance(self, stop: int, order: Int64[Tensor, "i v"], rates: dict[str, Float[Tensor, "i"]]) -> float:
        """Runs up to iteration `stop`, before one background after the other; the mean loss."""
        first, total = self.iteration, 0.0
        while first < stop:
            turn = first // _TURN
            last = min(stop, (turn + 1) * _TURN) if len(self.backgrounds) > 1 else stop
            which, steps = turn % len(self.backgrounds), slice(first, last)
            loss = replace(self.loss, background=self.backgrounds[which])
            some = {name: rate[steps] for name, rate in rates.items()}
            total += (last - first) * self.engines[which].run(self.state, order[steps], some, loss)
            first = last
        return total / (stop - self.iteration)

    def _size(self) -> tuple[int, int]:
        """Of the pictures that the next steps are trained on."""
        first = self.views[0].camera
        divisor = self.config.divisor_at(self.iteration, first.width)
        return round(first.width / divisor), round(first.height / divisor)

    def _set_level(self) -> None:
        level = self._size()
        if level != self.level:
            for engine, background in zip(self.engines, self.backgrounds, strict=True):
                engine.set_views(self.corrected_views(background), *level)
            self.level = level

    def corrected_views(self, background: Color) -> list[View]:
        """The pictures as they would be with the same exposure, as far as that is known by now."""
        if background not in self.pictures:
            shifts = self.exposures.shifts
            then = self.given if shifts is None else moved_by(self.given, shifts)
            self.pictures[background] = corrected(before(then, background), self.exposures, background)
        known = self.pictures[background]
        return [replace(view, image=picture.image) for view, picture in zip(self.views, known, strict=True)]

    def _solver(self) -> ExposureSolver:
        """Made when first needed."""
        if self.exposure_solver is None:
            device = self.state.params["means"].device
            self.exposure_solver = ExposureSolver(self.views, self.loss.background, device)
        return self.exposure_solver

    def _match_exposures(self) -> None:
        """Solves the exposures when their time has come; the next level, or this one anew, takes corrected pictures."""
        if self.iteration in self.config.exposure_at:
            before = self.exposures
            found = self._solver().solve(self.state.gaussians())
            self.exposures = replace(found, shifts=self.shifts) if found.model else found
            if before.model or self.exposures.model:
                self.level, self.pictures = (0, 0), {}

    def _align(self) -> None:
        """Moves the views to where their pictures fit the model, when the time has come."""
        if self.iteration not in self.config.align_at:
            return
        turn = self.config.align_at.index(self.iteration)
        views = self.corrected_views(self.loss.background)
        shifts = self.aligner.align(self.state.gaussians(), views, self.shifts, self._size(), turn)
        if shifts is not self.shifts:
            self.shifts, self.views = shifts, moved_by(self.given, shifts)
            self.exposure_solver = None
            for engine in self.engines:
                engine.set_cameras([view.camera for view in self.views])

    def _change_density(self) -> None:
        """What follows step number `iteration`."""
        config, state, i = self.config, self.state, self.iteration
        if config.densifies_at(i):
            if self.budget:
                _grow_to_budget(state, config, self._target())
            else:
                _grow_by_threshold(state, config, self.extent, i, _generator(self.seed, i))
        if config.resets_opacity_at(i):
            reset_opacities(state, _RESET_OPACITY)
        if config.sh_degree_at(i) > state.gaussians().sh_degree:
            grow_sh(state, config.sh_degree_at(i))

    def _target(self) -> int:
        """How many Gaussians the budget allows by now."""
        config = self.config
        last = config.densify_until - config.densify_every
        share = min(1.0, (self.iteration - config.densify_from) / max(1, last - config.densify_from))
        return round(self.budget * (config.start_share + (1 - config.start_share) * share))

    def _record(self, loss: float, evaluate_views: Sequence[View], bar: tqdm) -> None:
        record: Record = {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "loss": loss,
            "gaussians": len(self.state),
        }
        model, background = self.state.gaussians(), self.loss.background
        if evaluate_views:
            record["psnr"] = mean_psnr(model, evaluate_views, background)
        self.history.append(record)
        figures: dict[str, object] = {"loss": f"{loss:.4f}", "gaussians": len(self.state)}
        log.debug("train: iteration %d, %s", self.iteration, figures)
        if on_terminal():
            shown = record.get("psnr") or mean_psnr(model, self.views[:1], background)
            figures["psnr"] = f"{shown:.1f}"
        bar.set_postfix(figures, refresh=False)

    def _save(self, path: Path) -> None:
        save_checkpoint(
            path,
            Checkpoint(
                self.state, self.exposures, self.shifts, self.iteration, self.seconds, self.history, self.warned
            ),
            self.fingerprint,
        )


def _backgrounds(views: Sequence[View], usual: Color) -> list[Color]:
    """The colors that the pictures stand before in turns: that of their backdrop; and of cut-outs its opposite too.

    Cut-outs disagree along the outline. Before one color that becomes a fringe of this color, opaque, which shows
    against every other; before two it becomes transparent, since no color of a Gaussian fits both.
    """
    if any(view.uncut is None for view in views):
        return [usual]
    red, green, blue = usual
    return [usual, (1 - red, 1 - green, 1 - blue)]


def first_gaussians(
    views: Sequence[View], config: TrainConfig, *, device: torch.device | str = "cpu", seed: int = 0
) -> Gaussians:
    """What training by `config` begins with, on the device: the visual hull, or where there is none a random cloud."""
    backdrop, views = _before_backdrop(views, config)
    budget = _budget(views, config, backdrop)
    return _first(views, config, torch.device(device), seed, budget, backdrop, warned=[]).to(device)


def _before_backdrop(views: Sequence[View], config: TrainConfig) -> tuple[Backdrop, list[View]]:
    """The backdrop of the pictures, and the pictures before its color."""
    backdrop = measured_backdrop([view.image for view in views])
    if config.background:
        backdrop = replace(backdrop, color=config.background)
    return backdrop, before_one_color(views, backdrop)


def _budget(views: list[View], config: TrainConfig, backdrop: Backdrop) -> int:
    """How many Gaussians there will be in the end; 0: any number."""
    return round(config.budget * object_pixels(views, backdrop) ** BUDGET_POWER) if config.budget else 0


def _first(
    views: list[View],
    config: TrainConfig,
    device: torch.device,
    seed: int,
    budget: int,
    backdrop: Backdrop,
    warned: list[str],
) -> Gaussians:
    """What training begins with; `warned` gets what is to be said of it."""
    generator = _generator(seed, -1)
    sh_degree = config.sh_degree_at(0)
    count = round(budget * config.start_share) if budget else config.start_count
    start = None
    if config.hull:
        try:
            start = visual_hull(views, count, sh_degree, generator, config.start_opacity, backdrop, device)
        except NoHull as reason:
            warned.append(f"no visual hull to start from ({reason}): starting from a random cloud")
    if start is None:
        start = random_cube(count, sh_degree, generator)
    return start


def _grow_by_threshold(
    state: TrainingState, config: TrainConfig, extent: float, iteration: int, generator: torch.Generator
) -> None:
    """Density control of 3DGS."""
    grow = mean_gradient(state) >= config.grad_threshold
    clone_and_split(state, grow, config.split_share * extent, generator)
    model = state.gaussians()
    remove = model.opacities < config.prune_opacity
    if config.opacity_reset_every and iteration > config.opacity_reset_every:
        remove |= model.scales.amax(-1) > config.prune_share * extent
    prune(state, remove)


def _grow_to_budget(state: TrainingState, config: TrainConfig, target: int) -> None:
    """Takes the transparent ones away, then splits the most promising until `target` is met: those that want to move a
    lot on the screen and are large."""
    model = state.gaussians()
    score = mean_gradient(state) * model.scales.amax(-1)
    score[model.opacities < config.prune_opacity] = -1.0
    alive = int((score >= 0).sum())
    count = max(0, min(target - alive, alive))
    grow = torch.zeros_like(score, dtype=torch.bool)
    grow[score.topk(count).indices] = True
    remove = score < 0
    split_long_axis(state, grow)
    prune(state, torch.cat((remove[~grow], remove.new_zeros(2 * count))))


def _generator(seed: int, iteration: int) -> torch.Generator:
    """Random numbers that depend on the seed and the iteration alone, so that a resumed run draws the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + iteration + 1) % (1 << 62))
