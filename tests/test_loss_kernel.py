"""The photometric loss and its gradient: the fused kernel against plain torch."""

import pytest
import torch
from diff_gaussian_rasterization import photometric_loss
from diff_gaussian_rasterization.reference.rasterize import photometric_loss_reference, ssim_map

SIZES = [(1, 1, 1), (2, 37, 45), (1, 5, 100), (1, 64, 16), (1, 3, 7)]


def pictures(batch: int, height: int, width: int, as_bytes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(height)
    image = torch.rand(batch, 3, height, width, generator=g, dtype=torch.float64)
    if as_bytes:
        return image, torch.randint(0, 256, (batch, height, width, 3), generator=g, dtype=torch.uint8)
    return image, torch.rand(batch, 3, height, width, generator=g, dtype=torch.float64)


def value_and_gradient(
    loss, image: torch.Tensor, target: torch.Tensor, weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = image.clone().requires_grad_()
    value = loss(leaf, target, weight)
    (gradient,) = torch.autograd.grad(3.0 * value, leaf)
    return value.detach(), gradient


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_double_equals_the_reference(size: tuple[int, int, int], as_bytes: bool):
    image, target = pictures(*size, as_bytes)
    for weight in (0.0, 0.2, 1.0):
        value, gradient = value_and_gradient(photometric_loss, image, target, weight)
        expected, expected_gradient = value_and_gradient(photometric_loss_reference, image, target, weight)
        torch.testing.assert_close(value, expected, atol=1e-12, rtol=0)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-12, rtol=1e-9)


def test_float_follows_double():
    image, target = pictures(2, 50, 61, True)
    value, gradient = value_and_gradient(photometric_loss, image.float(), target, 0.2)
    expected, expected_gradient = value_and_gradient(photometric_loss_reference, image, target, 0.2)
    assert abs(value.item() - expected.item()) < 1e-6
    assert (gradient.double() - expected_gradient).norm() < 1e-5 * expected_gradient.norm()


def test_gradient_is_a_finite_difference():
    image, target = pictures(1, 6, 13, False)
    assert torch.autograd.gradcheck(lambda x: photometric_loss(x, target, 0.4), image.requires_grad_(), atol=1e-8)


def test_reference_gradient_is_a_finite_difference():
    image, target = pictures(1, 3, 8, False)
    check = torch.autograd.gradcheck
    assert check(lambda x: photometric_loss_reference(x, target, 0.4), image.requires_grad_(), atol=1e-8)


def test_plain_background_is_skipped_without_a_trace():
    """Picture and target agree but for two blots; what is skipped around them must not show in value or gradient."""
    target = torch.full((1, 60, 90, 3), 255, dtype=torch.uint8)
    image = torch.ones(1, 3, 60, 90, dtype=torch.float64)
    g = torch.Generator().manual_seed(2)
    image[..., 20:26, 30:41] = torch.rand(6, 11, generator=g, dtype=torch.float64)
    image[..., 59, 89] = 0.3
    value, gradient = value_and_gradient(photometric_loss, image, target, 0.2)
    expected, expected_gradient = value_and_gradient(photometric_loss_reference, image, target, 0.2)
    torch.testing.assert_close(value, expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-13, rtol=1e-9)


def test_equal_pictures_cost_nothing():
    _, target = pictures(1, 20, 30, True)
    image = target.permute(0, 3, 1, 2).float() / 255
    value, gradient = value_and_gradient(photometric_loss, image, target, 0.2)
    assert value.item() == pytest.approx(0, abs=1e-7)
    assert not gradient.any()


def test_ssim_is_one_for_equal_pictures_and_the_formula_for_flat_ones():
    image = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    torch.testing.assert_close(ssim_map(image, image), torch.ones_like(image))
    flat = torch.full((1, 3, 40, 40), 0.25, dtype=torch.float64)
    luminance = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim_map(flat, 3 * flat)[0, 0, 20, 20].item() == pytest.approx(luminance, rel=1e-12)


def test_result_does_not_depend_on_the_number_of_threads():
    image, target = pictures(2, 70, 33, True)
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            runs.append(value_and_gradient(photometric_loss, image.float(), target, 0.2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1])


def test_no_gradient_is_taken_when_none_is_asked_for():
    image, target = pictures(1, 20, 20, True)
    with torch.no_grad():
        value = photometric_loss(image, target)
    assert not value.requires_grad
    assert value == value_and_gradient(photometric_loss, image, target, 0.2)[0]


@pytest.mark.parametrize(
    ("image", "target", "weight", "words"),
    [
        (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8), 0.2, r"image: expected shape \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 8, 8).half(), torch.zeros(1, 3, 8, 8), 0.2, "image: expected dtype"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9), 0.2, r"target: expected shape \(1, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8).byte(), 0.2, r"target: expected shape \(1, 8, 8, 3\)"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, 3).int(), 0.2, "target: expected dtype torch.uint8"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8).double(), 0.2, "target: expected dtype torch.float32"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), 1.5, "ssim_weight: expected a number from 0 to 1"),
    ],
)
def test_wrong_input_is_named(image: torch.Tensor, target: torch.Tensor, weight: float, words: str):
    with pytest.raises(ValueError, match=words):
        photometric_loss(image, target, weight)


def test_torch_accepts_the_operation():
    image, target = pictures(1, 12, 14, True)
    kernel = torch.ops.diff_gaussian_rasterization.photometric_loss.default
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(kernel, (image.requires_grad_(), target, 0.2, True), test_utils=checks)
