"""The kernels as operations of torch: `rasterize_forward`, `rasterize_backward` and `photometric_loss` in
torch.ops.diff_gaussian_rasterization, with shapes for tracing and with autograd. `ops` checks the arguments and calls them.

Forward keeps a list of tensors, `state`, for backward; what it holds is the backend's own affair.
"""

from typing import Any

import torch
from torch import Tensor

from diff_gaussian_rasterization import cpu
from diff_gaussian_rasterization.scene import Scene

_LIBRARY = torch.library.Library("diff_gaussian_rasterization", "DEF")
_SCENE = (
    "Tensor means, Tensor scales, Tensor quats, Tensor opacities, Tensor colors, Tensor cam_from_world, "
    "Tensor intrinsics, int width, int height, Tensor background, Tensor? screen_offsets"
)
_SCENE_SIZE = len(Scene._fields)
_LIBRARY.define(f"rasterize_forward({_SCENE}) -> (Tensor, Tensor, Tensor, Tensor, Tensor[])")
_LIBRARY.define(
    f"rasterize_backward({_SCENE}, Tensor[] state, Tensor? v_image, Tensor? v_alpha, Tensor? v_depth) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]


@torch.library.impl(_LIBRARY, "rasterize_forward", "CPU")
def _forward_cpu(*scene: Any) -> Outputs:
    out = cpu.forward(Scene(*scene))
    return tuple(out)


@torch.library.impl(_LIBRARY, "rasterize_forward", "CUDA")
def _forward_cuda(*scene: Any) -> Outputs:
    from diff_gaussian_rasterization import cuda

    out = cuda.rasterize_forward(*scene)
    # An operation may not return one tensor twice, so backward gets copies of what it reads of the picture.
    state = [out.image.clone(), out.remaining, out.depth.clone(), out.radii.clone(), *out[4:]]
    return out.image, 1 - out.remaining, out.depth, out.radii, state


@torch.library.impl(_LIBRARY, "rasterize_backward", "CPU")
def _backward_cpu(*args: Any) -> tuple[Tensor, ...]:
    return tuple(cpu.backward(Scene(*args[:_SCENE_SIZE]), *args[_SCENE_SIZE:]))


@torch.library.impl(_LIBRARY, "rasterize_backward", "CUDA")
def _backward_cuda(*args: Any) -> tuple[Tensor, ...]:
    from diff_gaussian_rasterization import cuda

    scene, (state, *v_outputs) = Scene(*args[:_SCENE_SIZE]), args[_SCENE_SIZE:]
    forward = cuda.Forward(*state)
    shapes = (forward.image, forward.remaining, forward.depth)
    v_outputs = [torch.zeros_like(shape) if v is None else v for v, shape in zip(v_outputs, shapes, strict=True)]
    means, scales, quats, _, colors, cam_from_world, intrinsics = scene[:7]
    return tuple(cuda.rasterize_backward(means, scales, quats, colors, cam_from_world, intrinsics, forward, *v_outputs))


@torch.library.register_fake("diff_gaussian_rasterization::rasterize_forward", lib=_LIBRARY)
def _forward_fake(*args: Any) -> Outputs:
    scene = Scene(*args)
    views, count, like = scene.cam_from_world.shape[0], scene.means.shape[0], scene.means
    image = like.new_empty((views, 3, scene.height, scene.width))
    radii = like.new_empty((views, count), dtype=torch.int32)
    # Their sizes follow from the data and from the backend, and nobody but the backend reads them.
    context = torch.library.get_ctx()
    state = [like.new_empty((context.new_dynamic_size(),), dtype=torch.uint8) for _ in range(3)]
    return image, torch.empty_like(image[:, 0]), torch.empty_like(image[:, 0]), radii, state


@torch.library.register_fake("diff_gaussian_rasterization::rasterize_backward", lib=_LIBRARY)
def _backward_fake(*args: Any) -> tuple[Tensor, ...]:
    scene = Scene(*args[:_SCENE_SIZE])
    views, count = scene.cam_from_world.shape[0], scene.means.shape[0]
    tensors = (*scene[:7], scene.background)
    return (*(torch.empty_like(tensor) for tensor in tensors), scene.means.new_empty((views, count, 2)))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    scene = Scene(*inputs)
    ctx.set_materialize_grads(False)  # an output that the loss does not read costs nothing
    ctx.mark_non_differentiable(output[3])
    ctx.size = scene.width, scene.height
    ctx.save_for_backward(*scene[:7], scene.background, scene.screen_offsets, *output[4])


def _differentiate(
    ctx: Any, v_image: Tensor | None, v_alpha: Tensor | None, v_depth: Tensor | None, *_: object
) -> tuple[Tensor | None, ...]:
    *tensors, background, offsets = ctx.saved_tensors[:9]
    scene = (*tensors, *ctx.size, background, offsets)
    v = torch.ops.diff_gaussian_rasterization.rasterize_backward(
        *scene, list(ctx.saved_tensors[9:]), v_image, v_alpha, v_depth
    )
    return (*v[:7], None, None, v[7], None if offsets is None else v[8])


torch.library.register_autograd(
    "diff_gaussian_rasterization::rasterize_forward", _differentiate, setup_context=_keep, lib=_LIBRARY
)
