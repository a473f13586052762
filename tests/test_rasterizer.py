"""The compiled kernels against the reference: in double to rounding, in float to what thresholds allow."""

import pytest
import torch
from diff_gaussian_rasterization import rasterize
from diff_gaussian_rasterization.cpu import loader as cpu_library
from diff_gaussian_rasterization.reference.rasterize import rasterize_reference
from diff_gaussian_rasterization.types import Scene

from tests.splat_scenes import (
    TENSORS,
    assert_gradients_close,
    broad_scene,
    random_scene,
    scene_on,
    values_and_gradients,
)

SIZES = [(1, 1), (15, 17), (16, 16), (33, 9)]


def test_kernels_were_built():
    assert cpu_library.cpu_library() is not None, "pip install the submodules with a C++ compiler at hand"


@pytest.mark.parametrize("sh", [0, 1, 4, 9, 16])
def test_double_equals_the_reference(sh: int):
    scene = random_scene(257, 45, 37, sh=sh, seed=sh)
    out, gradients = values_and_gradients(rasterize, scene)
    expected, expected_gradients = values_and_gradients(rasterize_reference, scene)
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=0)
    assert_gradients_close(gradients, expected_gradients, 1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 257])
def test_any_size_and_number(count: int, size: tuple[int, int]):
    scene = random_scene(count, *size, seed=count)
    out, gradients = values_and_gradients(rasterize, scene)
    expected, expected_gradients = values_and_gradients(rasterize_reference, scene)
    for got, want in zip(out, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=0)
    assert_gradients_close(gradients, expected_gradients, 1e-9)


@pytest.mark.parametrize("sh", [0, 4])
def test_handwritten_gradients_are_finite_differences(sh: int):
    scene = broad_scene(sh)

    def pictures(*tensors):
        return rasterize(scene._replace(**dict(zip(TENSORS, tensors, strict=True))))[:3]

    leaves = [getattr(scene, name).clone().requires_grad_() for name in TENSORS]
    assert torch.autograd.gradcheck(pictures, leaves, eps=1e-6, atol=1e-7, rtol=1e-5, nondet_tol=0)


@pytest.mark.parametrize("seed", range(3))
def test_float_follows_double(seed: int):
    """A splat's alpha may fall on the other side of 1/255 or a pixel stop one splat earlier: such pixels are capped in
    number and in size. In 20 seeds none did: the largest error was 2e-6, of whole gradients 1e-5."""
    scene = random_scene(400, 90, 77, views=1, seed=seed)
    out, gradients = values_and_gradients(rasterize, scene_on(scene, torch.float32))
    expected, expected_gradients = values_and_gradients(rasterize, scene)
    for got, want in zip(out[:2], expected[:2], strict=True):
        error = (got.double() - want).abs()
        assert (error > 1e-4).double().mean() <= 1e-3
        assert error.max() <= 5e-3
    assert_gradients_close(gradients, expected_gradients, 1e-3)
    for name, want in expected_gradients.items():
        got = gradients[name].double().flatten()
        assert torch.nn.functional.cosine_similarity(got, want.flatten(), dim=0) >= 0.9999, name
    assert (out.radii - expected.radii).abs().max() <= 1


def test_result_does_not_depend_on_the_number_of_threads():
    scene = random_scene(500, 64, 50, dtype=torch.float32)
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(values_and_gradients(rasterize, scene))
    finally:
        torch.set_num_threads(before)
    for out, gradients in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out, runs[0][0], strict=True))
        assert all(torch.equal(gradients[name], runs[0][1][name]) for name in TENSORS)


def test_one_batch_equals_one_call_per_view():
    scene = random_scene(200, 40, 30, views=3)
    together = rasterize(scene)
    for view in range(3):
        one = slice(view, view + 1)
        alone = rasterize(
            scene._replace(
                cam_from_world=scene.cam_from_world[one],
                intrinsics=scene.intrinsics[one],
                screen_offsets=scene.screen_offsets[one],
            )
        )
        assert all(torch.equal(a[view], b[0]) for a, b in zip(together, alone, strict=True))


def test_no_views_are_an_empty_batch():
    scene = random_scene(5, 8, 6)
    none = slice(0, 0)
    cameras = {name: getattr(scene, name)[none] for name in ("cam_from_world", "intrinsics", "screen_offsets")}
    out, gradients = values_and_gradients(rasterize, scene._replace(**cameras))
    assert out.image.shape == (0, 3, 6, 8) and out.radii.shape == (0, 5)
    assert not any(gradient.any() for gradient in gradients.values())


def test_nothing_to_see_is_background_with_zero_gradients():
    scene = random_scene(5, 12, 9, views=1)
    behind = scene._replace(means=scene.means * 0.01, cam_from_world=torch.eye(4, dtype=torch.float64)[None])
    out, gradients = values_and_gradients(rasterize, behind)
    torch.testing.assert_close(out.image, behind.background[None, :, None, None].expand(1, 3, 9, 12), atol=0, rtol=0)
    assert not out.radii.any() and not out.alpha.any()
    assert all(not gradients[name].any() for name in TENSORS if name != "background")


def test_broken_gaussians_are_not_drawn():
    scene = random_scene(6, 20, 20, views=1)
    means, scales = scene.means.clone(), scene.scales.clone()
    means[0, 0], scales[1, 1], scales[2, 2] = torch.nan, torch.inf, torch.nan
    out, gradients = values_and_gradients(rasterize, scene._replace(means=means, scales=scales))
    rest = random_scene(6, 20, 20, views=1)
    keep = torch.arange(3, 6)
    names = ("means", "scales", "quats", "opacities", "colors")
    rest = rest._replace(
        **{name: getattr(rest, name)[keep] for name in names}, screen_offsets=rest.screen_offsets[:, 3:]
    )
    torch.testing.assert_close(out.image, rasterize(rest).image, atol=0, rtol=0)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_equal_depth_is_drawn_in_order_of_index():
    scene = random_scene(2, 8, 8, views=1, sh=0)
    both = scene._replace(
        means=torch.zeros(2, 3, dtype=torch.float64),
        opacities=torch.full((2,), 0.9, dtype=torch.float64),
        scales=torch.full((2, 3), 1e3, dtype=torch.float64),  # flat over the whole picture
        screen_offsets=None,
    )
    expected = 0.9 * both.colors[0] + 0.09 * both.colors[1] + 0.01 * both.background
    torch.testing.assert_close(rasterize(both).image[0, :, 4, 4], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("means", torch.zeros(4, 2), r"means: expected shape \(N, 3\), got \(4, 2\)"),
        ("means", torch.zeros(4, 3, dtype=torch.float16), "means: expected dtype torch.float32 or torch.float64"),
        ("means", [[0.0, 0.0, 0.0]], "means: expected a tensor, got list"),
        ("scales", torch.zeros(3, 3), r"scales: expected shape \(4, 3\), got \(3, 3\)"),
        ("quats", torch.zeros(4, 4, dtype=torch.float64), "quats: expected dtype torch.float32"),
        ("opacities", torch.zeros(4, 1), "opacities: expected shape"),
        ("colors", torch.zeros(4, 5, 3), "colors: expected shape"),
        ("cam_from_world", torch.eye(4), "cam_from_world: expected shape"),
        ("intrinsics", torch.zeros(3, 4), r"intrinsics: expected shape \(2, 4\)"),
        ("background", torch.zeros(3, device="meta"), "background: expected device cpu"),
        ("screen_offsets", torch.zeros(2, 4, 3), "screen_offsets: expected shape"),
        ("width", 0, "width: expected a whole number of pixels from 1 to 16384, got 0"),
        ("height", 2.5, "height: expected a whole number"),
    ],
)
def test_wrong_input_is_named(name: str, value: object, words: str):
    scene = random_scene(4, 8, 8, dtype=torch.float32)
    with pytest.raises(ValueError, match=words):
        rasterize(scene._replace(**{name: value}))


def test_second_derivatives_are_refused():
    scene = random_scene(5, 8, 8)
    means = scene.means.clone().requires_grad_()
    (first,) = torch.autograd.grad(
        rasterize(scene._replace(means=means)).image.square().sum(), means, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_strided_input_is_taken_as_it_is():
    scene = random_scene(50, 20, 20)
    strided = scene._replace(
        means=scene.means.T.contiguous().T, colors=scene.colors.transpose(0, 2).contiguous().transpose(0, 2)
    )
    assert not strided.means.is_contiguous()
    assert torch.equal(rasterize(strided).image, rasterize(scene).image)


@pytest.mark.parametrize("offsets", [True, False])
def test_torch_accepts_the_operations(offsets: bool):
    scene = random_scene(7, 16, 10, dtype=torch.float32)
    leaves = [value.requires_grad_() if isinstance(value, torch.Tensor) else value for value in scene]
    if not offsets:
        leaves[Scene._fields.index("screen_offsets")] = None
    kernels = torch.ops.diff_gaussian_rasterization
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(kernels.rasterize_forward.default, tuple(leaves), test_utils=checks)
    with torch.no_grad():
        image, alpha, depth, *_, state = kernels.rasterize_forward(*leaves)
        plain = tuple(value.detach() if isinstance(value, torch.Tensor) else value for value in leaves)
        args = (*plain, state, torch.ones_like(image), None, torch.ones_like(depth), True, offsets)
        torch.library.opcheck(kernels.rasterize_backward.default, args, test_utils=("test_schema", "test_faketensor"))


def test_torch_compile_traces_through():
    scene = random_scene(5, 8, 8, dtype=torch.float32)

    def loss(means: torch.Tensor) -> torch.Tensor:
        return rasterize(scene._replace(means=means)).image.square().sum()

    traced = torch.compile(loss, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (loss, traced):
        means = scene.means.clone().requires_grad_()
        gradients += torch.autograd.grad(function(means), means)
    assert torch.equal(*gradients)


RUNS_HERE = cpu_library.CANDIDATES.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))


@pytest.mark.parametrize("instructions", RUNS_HERE[1:])
def test_slower_instruction_sets_give_the_same_picture(instructions: str, monkeypatch: pytest.MonkeyPatch):
    """As the fastest that this machine has, which is what every other test runs with."""
    scene = random_scene(300, 50, 40, dtype=torch.float32)
    mine, my_gradients = values_and_gradients(rasterize, scene)
    monkeypatch.setenv("DIFF_GAUSSIAN_RASTERIZATION_CPU", instructions)
    other, gradients = values_and_gradients(rasterize, scene)
    error = (other.image - mine.image).abs()
    assert (error > 1e-5).double().mean() <= 1e-3 and error.max() <= 5e-3
    assert_gradients_close(gradients, my_gradients, 1e-3)


def test_without_kernels_the_reference_runs_and_says_so(monkeypatch: pytest.MonkeyPatch):
    from diff_gaussian_rasterization import ops

    scene = random_scene(20, 16, 16)
    expected = rasterize(scene)
    monkeypatch.setattr(ops, "cpu_library", lambda: None)
    ops._warn_of_reference.cache_clear()
    with pytest.warns(UserWarning, match="more than a hundred times slower. Install a C..17 compiler"):
        out = rasterize(scene)
    torch.testing.assert_close(out.image, expected.image, atol=1e-9, rtol=0)
