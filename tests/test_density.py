import math

import pytest
import torch

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.geometry import rotation_matrices
from gaussian_splatting.training.density import clone_and_split, grow_sh, prune, reset_opacities, split_long_axis
from gaussian_splatting.training.state import TrainingState

N = 7


def tagged_state():
    """Every number of Gaussian i, its moments included, is i + 1 in one column, so that we see where it went."""
    tag = torch.arange(1.0, N + 1)
    shapes = {"means": (3,), "log_scales": (3,), "quats": (4,), "opacity_logits": (), "sh": (1, 3)}
    params = {k: tag.reshape(N, *[1] * len(s)).expand(N, *s).clone() for k, s in shapes.items()}
    params["log_scales"] = params["log_scales"] * 0.1 - 3
    params["log_scales"][:, 1] += 0.5
    state = TrainingState.start(Gaussians(**params))
    for moments in (state.exp_avg, state.exp_avg_sq):
        for value in moments.values():
            value += tag.reshape(N, *[1] * (value.dim() - 1))
    state.adam_step = 5
    state.grad2d_sum += tag
    return state


def check_moments(state, expected):
    """Each Gaussian's moments are those of its tag, 0 for a new one."""
    for moments in (state.exp_avg, state.exp_avg_sq):
        for name, value in moments.items():
            assert value.shape == state.params[name].shape
            assert value.flatten(1).amax(1).tolist() == expected if value.dim() > 1 else value.tolist() == expected
    assert state.adam_step == 5
    assert state.grad2d_sum.tolist() == [0.0] * len(expected)
    assert len(state.grad2d_count) == len(expected)


def mask(*which):
    out = torch.zeros(N, dtype=torch.bool)
    out[list(which)] = True
    return out


def test_prune_keeps_moments_with_their_gaussians():
    state = tagged_state()
    prune(state, mask(0, 3))
    assert state.params["means"][:, 0].tolist() == [2, 3, 5, 6, 7]
    check_moments(state, [2, 3, 5, 6, 7])


def test_prune_leaves_one():
    state = tagged_state()
    prune(state, torch.ones(N, dtype=torch.bool))
    assert state.params["opacity_logits"].tolist() == [7]


def test_clone_and_split():
    state = tagged_state()
    largest = state.params["log_scales"].amax(-1)
    above = math.exp((largest[3] + 0.01).item())  # Gaussians 4, 5, 6 are large
    clone_and_split(state, mask(1, 5), above, torch.Generator().manual_seed(0))
    tags = state.params["opacity_logits"].tolist()
    assert tags == [1, 2, 3, 4, 5, 7, 2, 6, 6]
    check_moments(state, [1, 2, 3, 4, 5, 7, 0, 0, 0])
    assert torch.equal(state.params["means"][6], torch.full((3,), 2.0))
    assert torch.allclose(state.params["log_scales"][7].amax(), largest[5] - math.log(1.6))


def test_long_axis_split_keeps_mean_and_variance():
    state = tagged_state()
    before = state.gaussians()[torch.tensor([2])]
    split_long_axis(state, mask(2))
    check_moments(state, [1, 2, 4, 5, 6, 7, 0, 0])
    pair = state.gaussians()[torch.tensor([6, 7])]
    assert torch.allclose(pair.means.mean(0), before.means[0], atol=1e-6)
    rotation = rotation_matrices(before.quats)[0]
    spread = ((pair.means - before.means) @ rotation).square().mean(0)
    assert torch.allclose(pair.scales[0].square() + spread, before.scales[0].square(), rtol=1e-4)
    assert spread.argmax() == 1


def test_opacity_reset_forgets_only_opacity_moments():
    state = tagged_state()
    state.grad2d_sum, state.grad2d_count = torch.full((N,), 3.0), torch.full((N,), 2.0)
    reset_opacities(state, 0.01)
    assert state.grad2d_sum.tolist() == [3.0] * N and state.grad2d_count.tolist() == [2.0] * N  # as in 3DGS
    assert torch.allclose(state.gaussians().opacities, torch.full((N,), 0.01))
    assert state.exp_avg["opacity_logits"].tolist() == [0.0] * N
    assert state.exp_avg["means"][:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_sh_grows_with_zeros():
    state = tagged_state()
    grow_sh(state, 2)
    for tensors in (state.params, state.exp_avg, state.exp_avg_sq):
        assert tensors["sh"].shape == (N, 9, 3)
        assert tensors["sh"][:, 1:].abs().max() == 0
        assert tensors["sh"][:, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("none", [torch.zeros(N, dtype=torch.bool)])
def test_nothing_to_do_changes_nothing(none):
    state, twin = tagged_state(), tagged_state()
    clone_and_split(state, none, 1.0, torch.Generator())
    split_long_axis(state, none)
    prune(state, none)
    for name, value in twin.params.items():
        assert torch.equal(state.params[name], value)
        assert torch.equal(state.exp_avg[name], twin.exp_avg[name])
