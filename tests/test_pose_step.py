"""One damped Gauss-Newton step of many poses: kernels against plain torch, and what must hold for every pose."""

import pytest
import torch
from diff_gaussian_rasterization import pose_step
from diff_gaussian_rasterization.constants import OFFSET_MAX, SCALE_START, SHIFT_MAX, TURN_MAX
from diff_gaussian_rasterization.reference import pose_step as reference
from diff_gaussian_rasterization.types import NormalEquations, PoseState, Trial

from gaussian_splatting.geometry import rotation_matrices
from gaussian_splatting.pose.solve import start_state

PICTURES, RIVALS = 5, 3
CENTER = (0.1, -0.2, 0.3)


def batch(dtype: torch.dtype, seed: int = 0) -> tuple[PoseState, NormalEquations, torch.Tensor]:
    """Poses under way with equations of every kind, some not active, one that touches nothing; the backgrounds."""
    g = torch.Generator().manual_seed(seed)
    count = PICTURES * RIVALS
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, :3, :3] = rotation_matrices(torch.randn(count, 4, generator=g, dtype=torch.float64))
    poses[:, :3, 3] = torch.tensor([0.0, 0.0, 3.0]) + torch.rand(count, 3, generator=g)
    alive = torch.rand(count, generator=g) > 0.2
    state = start_state(torch.arange(PICTURES).repeat_interleave(RIVALS), poses, alive)
    state.gain.copy_(0.8 + 0.5 * torch.rand(count, generator=g))
    state.damping.copy_(10 ** (4 * torch.rand(count, generator=g) - 4))
    background = torch.rand(PICTURES, 3, generator=g)
    background[0] = 1.0  # saturated
    return state, equations(count, dtype, g), background.to(dtype)


def equations(count: int, dtype: torch.dtype, g: torch.Generator) -> NormalEquations:
    root = torch.randn(count, 8, 8, generator=g, dtype=torch.float64) * torch.logspace(-1, 2, 8, dtype=torch.float64)
    size = 10 ** (3 * torch.rand(count, 1, generator=g, dtype=torch.float64))  # of the steps: tiny, and far too long
    histogram = torch.randint(0, 50, (count, 128), generator=g, dtype=torch.int32)
    histogram[4] = 0
    return NormalEquations(
        (root @ root.mT).to(dtype),
        (size * torch.randn(count, 8, generator=g, dtype=torch.float64)).to(dtype),
        torch.rand(count, generator=g).to(dtype),
        histogram,
    )


def copied(parts: NormalEquations) -> NormalEquations:
    return NormalEquations(*(tensor.clone() for tensor in parts))


def assert_same(found, expected, tolerance: float) -> None:
    for name, a, b in zip(found._fields, found, expected, strict=True):
        if isinstance(a, torch.Tensor):
            a, b = a.cpu(), b.cpu()
            torch.testing.assert_close(
                a, b, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:
            assert_same(a, b, 1e-5)  # in the type of the model


def steps(backend, dtype: torch.dtype, brightness: bool, least_scale: float | None, always: bool, device: str = "cpu"):
    """A proposal and its acceptance, as (state, equations, trial)."""
    state, parts, background = batch(dtype)
    state, parts = (type(x)(*(tensor.to(device) for tensor in x)) for x in (state, parts))
    trial, center = Trial.room_for(state, dtype), torch.tensor(CENTER, dtype=dtype, device=device)
    backend.propose(state, parts, trial, center, background.to(device), brightness, least_scale)
    found = equations(len(state.gain), dtype, torch.Generator().manual_seed(7))
    found = NormalEquations(*(tensor.to(device) for tensor in found))
    backend.accept(state, parts, trial, found, always, 1e-4)
    return state, parts, trial


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "brightness, least_scale, always", [(True, 0.03, False), (False, None, False), (True, 0.1, True)]
)
def test_kernels_do_what_plain_torch_does(dtype, brightness: bool, least_scale: float | None, always: bool) -> None:
    from diff_gaussian_rasterization.cpu import pose_step as cpu

    found = steps(cpu, dtype, brightness, least_scale, always)
    for ours, theirs in zip(found, steps(reference, dtype, brightness, least_scale, always), strict=True):
        assert_same(ours, theirs, 1e-9)


def test_steps_are_no_longer_than_allowed_and_poses_stay_rigid() -> None:
    state, parts, background = batch(torch.float32)
    trial = Trial.room_for(state, torch.float32)
    center = torch.tensor(CENTER)
    pose_step.propose(state, parts, trial, center, background, brightness=True, least_scale=0.1)
    rotation = trial.cam_from_world[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand_as(rotation))
    assert trial.length.max() == pytest.approx(max(TURN_MAX, SHIFT_MAX), rel=1e-9)
    assert trial.offset.abs().max() <= OFFSET_MAX
    assert trial.drawn.scale[~state.active].eq(0).all()
    assert trial.drawn.background[:RIVALS].min() >= 1  # a saturated backdrop never gets darker than it was


def test_what_is_not_finite_moves_nothing() -> None:
    state, parts, background = batch(torch.float32)
    parts.gradient.fill_(torch.nan)
    trial = Trial.room_for(state, torch.float32)
    pose_step.propose(state, parts, trial, torch.tensor(CENTER), background, brightness=True, least_scale=None)
    torch.testing.assert_close(trial.cam_from_world, state.cam_from_world, rtol=0, atol=1e-14)
    found = parts._replace(cost=torch.full_like(parts.cost, torch.nan))
    before = state.copied()
    pose_step.accept(state, parts, trial, found, always=False, shortest_step=1e-4)
    assert_same(state._replace(**{k: getattr(before, k) for k in ("damping", "active", "step", "steps")}), before, 0)


def test_a_picture_that_nothing_touches_gets_the_first_scale() -> None:
    state, parts, background = batch(torch.float32)
    parts.histogram.zero_()
    trial = Trial.room_for(state, torch.float32)
    pose_step.propose(state, parts, trial, torch.tensor(CENTER), background, brightness=True, least_scale=0.03)
    assert state.scale.eq(SCALE_START).all()


@pytest.mark.determinism
def test_a_step_does_not_depend_on_the_other_poses() -> None:
    together = batch(torch.float32)
    apart = batch(torch.float32)
    center = torch.tensor(CENTER)
    trial = Trial.room_for(together[0], torch.float32)
    pose_step.propose(together[0], together[1], trial, center, together[2], brightness=True, least_scale=0.03)
    for i in range(PICTURES):
        rows = torch.arange(RIVALS) + i * RIVALS
        state = apart[0].select(rows)._replace(picture=torch.zeros(RIVALS, dtype=torch.int64))
        alone = Trial.room_for(state, torch.float32)
        part = NormalEquations(*(tensor[rows] for tensor in apart[1]))
        pose_step.propose(state, part, alone, center, apart[2][i : i + 1], brightness=True, least_scale=0.03)
        assert alone.cam_from_world.equal(trial.cam_from_world[rows]) and alone.gain.equal(trial.gain[rows])
