"""The fused training step against autograd and torch's own Adam."""

import pytest
import torch
from diff_gaussian_rasterization import Scene, photometric_loss, rasterize
from diff_gaussian_rasterization.constants import PARAMETERS
from diff_gaussian_rasterization.cpu.train import Batch, Moments, Statistics, training_step
from torch import Tensor

from tests.splat_scenes import random_scene

RATES = {"means": 2e-3, "log_scales": 5e-3, "quats": 1e-3, "opacity_logits": 2e-2, "sh": 3e-3, "sh_rest": 1e-3}
WIDTH, HEIGHT, COUNT, STEPS = 33, 21, 150, 3


def start(sh: int) -> tuple[dict[str, Tensor], Batch]:
    scene = random_scene(COUNT, WIDTH, HEIGHT, sh=sh, dtype=torch.float32)
    params = {
        "means": scene.means,
        "log_scales": scene.scales.log(),
        "quats": scene.quats,
        "opacity_logits": scene.opacities.clamp(0.02, 0.98).logit(),
        "sh": scene.colors,
    }
    g = torch.Generator().manual_seed(4)
    targets = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), generator=g, dtype=torch.uint8)
    return params, Batch(scene.cam_from_world, scene.intrinsics, targets, scene.background)


def by_autograd(params: dict[str, Tensor], batch: Batch) -> tuple[list[float], dict[str, Tensor], list[Tensor]]:
    """Losses, parameters after all steps and [grad2d_sum, grad2d_count], without any of the fused code."""
    rest_rate = RATES["sh_rest"]
    leaves = {name: params[name].clone().requires_grad_() for name in PARAMETERS[:-1]}
    leaves["sh"] = params["sh"][:, :1].clone().requires_grad_()
    leaves["sh_rest"] = params["sh"][:, 1:].clone().requires_grad_()
    groups = [{"params": [leaf], "lr": RATES[name]} for name, leaf in leaves.items() if name != "sh_rest"]
    optimizer = torch.optim.Adam([*groups, {"params": [leaves["sh_rest"]], "lr": rest_rate}], eps=1e-15)
    losses, statistics = [], [torch.zeros(COUNT) for _ in range(2)]
    for _ in range(STEPS):
        offsets = torch.zeros(2, COUNT, 2, requires_grad=True)
        scene = Scene(
            leaves["means"],
            leaves["log_scales"].exp(),
            leaves["quats"],
            leaves["opacity_logits"].sigmoid(),
            torch.cat((leaves["sh"], leaves["sh_rest"]), dim=1),
            batch.cam_from_world,
            batch.intrinsics,
            WIDTH,
            HEIGHT,
            batch.background,
            offsets,
        )
        out = rasterize(scene)
        loss = photometric_loss(out.image, batch.targets, 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        per_view = 2 * offsets.grad * torch.tensor((WIDTH / 2, HEIGHT / 2))
        statistics[0] += per_view.norm(dim=-1).sum(0)
        statistics[1] += (out.radii > 0).sum(0)
    after = {name: leaves[name].detach() for name in PARAMETERS}
    after["sh"] = torch.cat((leaves["sh"], leaves["sh_rest"]), dim=1).detach()
    return losses, after, statistics


@pytest.mark.parametrize("sh", [1, 4])
def test_equals_autograd_and_torch_adam(sh: int):
    params, batch = start(sh)
    losses, expected, expected_statistics = by_autograd(params, batch)
    state = {name: value.clone() for name, value in params.items()}
    zeros = [{name: torch.zeros_like(value) for name, value in params.items()} for _ in range(2)]
    statistics = Statistics(torch.zeros(COUNT), torch.zeros(COUNT))
    for step in range(STEPS):
        moments = Moments(*zeros, (0.9, 0.999), 1e-15)
        loss = training_step(state, moments, statistics, batch, step=step + 1, rates=RATES, ssim_weight=0.2)
        assert loss.item() == pytest.approx(losses[step], abs=1e-5)
    for name in PARAMETERS:
        # Adam divides by the gradient's own size: where that is rounding noise, so is the step's sign.
        moved = (expected[name] - params[name]).norm()
        assert (state[name] - expected[name]).norm() < 2e-3 * moved, name
    for got, want in zip(statistics, expected_statistics, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-3, atol=1e-6)


def test_hidden_gaussians_stay_where_they_are():
    params, batch = start(1)
    params["means"][:10] += 100.0
    before = {name: value.clone() for name, value in params.items()}
    moments = Moments(*({k: torch.zeros_like(v) for k, v in params.items()} for _ in range(2)), (0.9, 0.999), 1e-15)
    statistics = Statistics(torch.zeros(COUNT), torch.zeros(COUNT))
    training_step(params, moments, statistics, batch, step=1, rates=RATES, ssim_weight=0.2)
    for name in PARAMETERS:
        assert torch.equal(params[name][:10], before[name][:10])
        assert not torch.equal(params[name][10:], before[name][10:])
    assert not statistics.grad2d_count[:10].any()
