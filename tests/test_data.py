import cv2
import numpy as np
import pytest
import torch

from gaussian_splatting.images import read_image, target_size
from gaussian_splatting.views import View, check_sizes
from tests.toy_scene import cameras


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_channels_are_rgb_and_transparency_is_white(tmp_path):
    image = np.zeros((2, 2, 4), np.uint8)
    image[0, 0] = (255, 0, 0, 255)  # opaque blue in OpenCV's order
    image[0, 1] = (0, 0, 0, 128)
    write(tmp_path / "a.png", image)
    out = read_image(tmp_path / "a.png")
    assert out[0, 0].tolist() == [0, 0, 255]
    assert out[0, 1].tolist() == [127, 127, 127]
    assert out[1, 1].tolist() == [255, 255, 255]


def test_gray_and_sixteen_bit_pictures_become_rgb(tmp_path):
    write(tmp_path / "gray.png", np.full((3, 3), 7, np.uint8))
    write(tmp_path / "deep.png", np.full((3, 3, 3), 256 * 9, np.uint16))
    assert read_image(tmp_path / "gray.png").unique().tolist() == [7]
    assert read_image(tmp_path / "deep.png").unique().tolist() == [9]


def test_resolution_rule():
    assert target_size(800, 600, None) == target_size(800, 600, 1) == (800, 600)
    assert target_size(800, 600, 4) == (200, 150)
    assert target_size(800, 600, 400) == (400, 300)
    with pytest.raises(ValueError, match="1, 2, 4, 8"):
        target_size(800, 600, 3)


def test_resampling_averages(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2] = 200
    write(tmp_path / "stripes.png", image)
    assert read_image(tmp_path / "stripes.png", 2).unique().tolist() == [100]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, -8])
def test_truncated_picture_is_named(tmp_path, suffix, keep):
    path = tmp_path / f"half{suffix}"
    write(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=f"half{suffix}.*not a complete"):
        read_image(path)


def test_missing_picture_is_named(tmp_path):
    with pytest.raises(ValueError, match="gone.png.*cannot be read"):
        read_image(tmp_path / "gone.png")


def test_a_picture_of_floats_is_named(tmp_path):
    path = tmp_path / "floats.tiff"
    write(path, np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="floats.tiff: its values are floats"):
        read_image(path)


def test_views_must_match_their_cameras():
    camera = cameras(1, size=8)[0]
    check_sizes([View("a", camera, torch.zeros(8, 8, 3, dtype=torch.uint8))])
    with pytest.raises(ValueError, match="b: the picture is 9x8"):
        check_sizes([View("b", camera, torch.zeros(8, 9, 3, dtype=torch.uint8))])
