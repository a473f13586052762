"""The engine that runs anywhere: fused steps where the compiled CPU kernels are, autograd elsewhere."""

from collections.abc import Sequence

import torch
from diff_gaussian_rasterization import Scene, photometric_loss, rasterize
from diff_gaussian_rasterization.cpu.loader import cpu_library
from diff_gaussian_rasterization.cpu.train import Batch, Moments, Statistics, training_step
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from gaussian_splatting.camera import Camera, stack_cameras
from gaussian_splatting.images import area_resize
from gaussian_splatting.training.state import ADAM_BETAS, ADAM_EPS, LossConfig, TrainingState
from gaussian_splatting.views import View


class CpuEngine:
    """The engine that runs anywhere, deterministic on the CPU: fused steps where the compiled CPU kernels are, autograd
    on the rasterizer's custom op elsewhere."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._fused = self._device.type == "cpu" and cpu_library() is not None
        self._images: UInt8[Tensor, "v h w 3"] | None = None

    def expect(self, gaussians: int) -> None:
        """Nothing: memory is taken by the step."""

    def set_views(self, views: Sequence[View], width: int, height: int) -> None:
        images = [torch.from_numpy(area_resize(view.image.numpy(), width, height)) for view in views]
        self._images = torch.stack(images).to(self._device)
        cameras = [view.camera.resized(width, height) for view in views]
        self._poses, self._intrinsics = stack_cameras(cameras, self._device)

    def set_cameras(self, cameras: Sequence[Camera]) -> None:
        self._poses.copy_(stack_cameras(list(cameras), self._device)[0])

    def run(
        self,
        state: TrainingState,
        order: Int64[Tensor, "iterations views_per_step"],
        learning_rates: dict[str, Float[Tensor, "iterations"]],
        loss: LossConfig,
    ) -> float:
        if self._images is None:
            raise ValueError("set_views must come before run")
        background = torch.tensor(loss.background, device=self._device)
        tables = {name: table.tolist() for name, table in learning_rates.items()}
        total = torch.zeros((), device=self._device)
        step = self._fused_step if self._fused else self._step
        for i, views in enumerate(order.to(self._device)):
            total += step(state, views, {k: v[i] for k, v in tables.items()}, loss.ssim_weight, background)
        return total.item() / max(1, order.shape[0])

    def _fused_step(
        self,
        state: TrainingState,
        views: Int64[Tensor, "b"],
        rates: dict[str, float],
        ssim_weight: float,
        background: Float[Tensor, "3"],
    ) -> Float[Tensor, ""]:
        assert self._images is not None
        batch = Batch(self._poses[views], self._intrinsics[views], self._images[views], background)
        moments = Moments(state.exp_avg, state.exp_avg_sq, ADAM_BETAS, ADAM_EPS)
        statistics = Statistics(state.grad2d_sum, state.grad2d_count)
        state.adam_step += 1
        return training_step(
            state.params, moments, statistics, batch, step=state.adam_step, rates=rates, ssim_weight=ssim_weight
        )

    def _step(
        self,
        state: TrainingState,
        views: Int64[Tensor, "b"],
        rates: dict[str, float],
        ssim_weight: float,
        background: Float[Tensor, "3"],
    ) -> Float[Tensor, ""]:
        assert self._images is not None
        height, width = self._images.shape[1:3]
        leaves = {k: v.requires_grad_() for k, v in state.params.items()}
        offsets = torch.zeros(len(views), len(state), 2, device=self._device, requires_grad=True)
        model = state.gaussians()
        scene = Scene(
            model.means,
            model.scales,
            model.quats,
            model.opacities,
            model.sh,
            self._poses[views],
            self._intrinsics[views],
            width,
            height,
            background,
            offsets,
        )
        out = rasterize(scene)
        value = photometric_loss(out.image, self._images[views], ssim_weight)
        grads = torch.autograd.grad(value, [*leaves.values(), offsets])
        for leaf in leaves.values():
            leaf.requires_grad_(False)
        with torch.no_grad():
            _count(state, grads[-1] * len(views), out.radii, width, height)
            adam(state, dict(zip(leaves, grads[:-1], strict=True)), rates)
        return value.detach()


def _count(state: TrainingState, grad2d: Float[Tensor, "b n 2"], radii: Tensor, width: int, height: int) -> None:
    """Adds one step to the density statistics; what is not drawn has no gradient."""
    x, y = (grad2d * grad2d.new_tensor([0.5 * width, 0.5 * height])).unbind(-1)
    state.grad2d_sum += torch.hypot(x, y).sum(0)
    state.grad2d_count += radii.sign().sum(0)


def adam(state: TrainingState, grads: dict[str, Tensor], rates: dict[str, float]) -> None:
    """One Adam step (Kingma and Ba 2015) on every parameter, in place, by torch's fused kernel."""
    step = torch.tensor(float(state.adam_step + 1), device=state.params["means"].device)
    sh = state.params["sh"]
    rest = sh[:, 1:].clone()
    for name, grad in grads.items():
        _fused_adam(state.params[name], grad, state.exp_avg[name], state.exp_avg_sq[name], step, rates[name])
    if rest.shape[1]:  # an Adam step is proportional to its rate, so the harmonics' own rate is a rescaling
        ratio = rates["sh_rest"] / rates["sh"] if rates["sh"] else 0.0
        sh[:, 1:] = torch.lerp(rest, sh[:, 1:], ratio)
    state.adam_step += 1


def _fused_adam(param: Tensor, grad: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, step: Tensor, rate: float) -> None:
    torch._fused_adam_(
        [param],
        [grad.contiguous()],
        [exp_avg],
        [exp_avg_sq],
        [],
        [step],
        lr=rate,
        beta1=ADAM_BETAS[0],
        beta2=ADAM_BETAS[1],
        weight_decay=0.0,
        eps=ADAM_EPS,
        amsgrad=False,
        maximize=False,
    )
