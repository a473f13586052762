"""Every format that a camera or a program writes, and files that are none."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from gaussian_splatting import images
from gaussian_splatting.images import PICTURE_SUFFIXES, open_picture, plain_png_size, read_image, read_uncut
from PAD_utils.data.masks import read_mask
from PAD_utils.errors import UserError

WIDTH, HEIGHT = 48, 32
LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"]


def photograph():
    """A smooth picture, so that lossy formats stay close to it."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    return np.dstack((5 * column, 7 * row, 100 + 2 * row)).astype(np.uint8)


def encoded(suffix, picture=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(photograph()) if picture is None else picture
    if suffix in (".heic", ".heif"):
        __import__("pillow_heif").register_heif_opener()
    kind = {".jpg": "JPEG", ".tif": "TIFF", ".pgm": "PPM", ".heic": "HEIF"}.get(suffix, suffix[1:].upper())
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def keep(tmp_path):
    """Writes bytes to a file and returns its path."""

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_every_listed_format_is_read(keep, suffix):
    picture = read_image(keep("a" + suffix, encoded(suffix))).numpy().astype(int)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    error = np.abs(picture - photograph())
    assert error.max() == 0 if suffix in LOSSLESS else error.mean() < 6


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_every_format_cut_short_is_refused_by_name(keep, suffix, share):
    content = encoded(suffix)
    with pytest.raises(ValueError, match=f"half{suffix}: not a complete picture"):
        read_image(keep("half" + suffix, content[: int(share * len(content))]))


@pytest.mark.parametrize("trailer", [bytes(20000), b"SEFT" + bytes(range(200))])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_follows_a_picture_is_ignored(keep, suffix, trailer):
    content = encoded(suffix)
    plain, longer = read_image(keep("a" + suffix, content)), read_image(keep("b" + suffix, content + trailer))
    assert (plain == longer).all()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PNG_KINDS = {
    **{mode: {"picture": Image.fromarray(photograph()).convert(mode)} for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "color that is transparent": {"transparency": (10, 7, 102)},
    "gray that is transparent": {"picture": Image.fromarray(photograph()[..., 0]), "transparency": 10},
    "palette entry that is transparent": {"picture": Image.fromarray(photograph()).convert("P"), "transparency": 3},
    "16 bits, gray": {"picture": Image.fromarray(photograph()[..., 0].astype(np.uint16) * 257)},
    "turned": {"exif": turned(6)},
    "color profile": {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()},
    "animated": {"save_all": True, "append_images": [Image.new("RGB", (WIDTH, HEIGHT))]},
}


def fade(image):
    """The picture, half of it half transparent where it has an alpha channel."""
    if image is not None and image.mode == "RGBA":
        image.paste((9, 99, 199, 77), (0, 0, WIDTH // 2, HEIGHT))
    return image


@pytest.mark.parametrize("kind", PNG_KINDS)
def test_plain_pngs_have_the_same_pixels_as_through_pillow(keep, kind):
    options = dict(PNG_KINDS[kind])
    content = encoded(".png", fade(options.pop("picture", None)), **options)
    through_pillow = read_image(keep("a.png", content + b"trailer"))
    assert (read_image(keep("b.png", content)) == through_pillow).all()


def test_a_png_of_sixteen_bits_in_color_keeps_the_upper_eight(keep):
    deep = photograph()[..., ::-1].astype(np.uint16) * 256 + 255
    assert (read_image(keep("a.png", cv2.imencode(".png", deep)[1].tobytes())).numpy() == photograph()).all()


def test_a_plain_png_goes_through_opencv_and_a_damaged_one_is_refused(keep, monkeypatch):
    content, calls, decode = encoded(".png"), [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: calls.append(1) or decode(*arguments))
    assert (read_image(keep("a.png", content)).numpy() == photograph()).all() and calls == [1]
    middle = len(content) // 2
    with pytest.raises(ValueError, match="b.png: not a complete picture"):
        read_image(keep("b.png", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]))
    with pytest.raises(ValueError, match="c.png: not a complete picture"):
        read_image(keep("c.png", content[:16] + content[-12:]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(ValueError, match="d.png: has more pixels"):
        read_image(keep("d.png", content))


def test_an_end_marker_of_a_thumbnail_does_not_make_half_a_picture_whole(keep):
    content, thumbnail = encoded(".jpg"), encoded(".jpg", Image.new("RGB", (8, 8)))
    part = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\0\0" + thumbnail
    whole = content[:2] + part + content[2:]
    assert read_image(keep("a.jpg", whole)).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="b.jpg: not a complete"):
        read_image(keep("b.jpg", whole[: len(part) + len(content) // 2]))


# What a viewer does with a stored picture, as TIFF 6.0 defines tag 274 (row 0 and column 0 of the stored picture).
UPRIGHT = {
    1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
    5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: lambda p: np.rot90(p, 1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_pictures_and_masks_are_turned_upright(keep, suffix, orientation):
    options = (
        {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    )
    path = keep("a" + suffix, encoded(suffix, exif=turned(orientation), **options))
    error = np.abs(read_image(path).numpy().astype(int) - UPRIGHT[orientation](photograph()))
    assert error.max() <= (3 if suffix == ".jpg" else 0)
    mask = photograph()[..., 0] > 150
    path = keep(
        "mask" + suffix, encoded(suffix, Image.fromarray(mask).convert("L"), exif=turned(orientation), **options)
    )
    assert (read_mask(path) == UPRIGHT[orientation](mask)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_pictures_of_every_mode_become_rgb(keep, mode):
    suffix, gray = (".jpg" if mode in ("CMYK", "YCbCr") else ".tiff"), mode in ("1", "L", "LA", "I;16", "I")
    levels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray((levels.astype(np.uint16) << 8) + 7)
        image = image if mode == "I;16" else Image.fromarray(np.asarray(image).astype(np.int32))
    else:
        image = Image.fromarray(levels if gray else photograph() // 255 * 255).convert(mode)
    expected = np.dstack([levels] * 3) if gray else photograph() // 255 * 255
    assert np.abs(read_image(keep("a" + suffix, encoded(suffix, image))).numpy().astype(int) - expected).max() <= 3


def test_transparency_of_palettes_and_of_a_color_is_white(keep):
    image = Image.fromarray(np.eye(8, dtype=np.uint8))
    image.putpalette([0, 0, 0, 10, 20, 30])
    out = read_image(keep("palette.png", encoded(".png", image, transparency=0)))
    assert out[0, 0].tolist() == [10, 20, 30] and out[0, 1].tolist() == [255, 255, 255]
    gray = Image.fromarray(np.eye(8, dtype=np.uint8) * 9)
    assert read_image(keep("gray.png", encoded(".png", gray, transparency=0)))[0, 1].tolist() == [255, 255, 255]


def test_values_of_more_than_sixteen_bits_are_named(keep):
    image = Image.fromarray(np.full((4, 4), 1 << 20, np.int32))
    with pytest.raises(ValueError, match="deep.tiff: its values take more than 16 bits"):
        read_image(keep("deep.tiff", encoded(".tiff", image)))


def test_heic_without_its_library_says_what_to_install(keep, monkeypatch):
    path = keep("photo.jpg", encoded(".heic"))  # phones and chats rename them
    assert open_picture(path).size == (WIDTH, HEIGHT)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match="photo.jpg: HEIC needs pillow-heif; pip install pillow-heif"):
        open_picture(path)


def test_a_file_that_would_start_a_program_is_no_picture(keep):
    with pytest.raises(ValueError, match="a.png: not a complete picture"):
        open_picture(keep("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"))


def test_masks_in_every_form(keep):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:12, 8:30] = True
    gray = Image.fromarray(255 * mask.astype(np.uint8))
    one_color = Image.new("RGBA", gray.size, "white")
    one_color.putalpha(gray)
    forms = {
        "bits.png": gray.convert("1"), "faint.png": Image.fromarray(mask.astype(np.uint8)),
        "deep.png": Image.fromarray(mask.astype(np.uint16)), "alpha.png": one_color, "palette.png": gray.convert("P"),
        "opaque.png": gray.convert("RGBA"), "cmyk.tiff": gray.convert("RGB").convert("CMYK"),
        "photo.jpg": gray, "float.tiff": Image.fromarray(mask.astype(np.float32)),
    }  # fmt: skip
    for name, image in forms.items():
        assert (read_mask(keep(name, encoded(name[name.index(".") :], image))) == mask).all(), name
    with pytest.raises(UserError, match="cut.png: not a complete.*fetch or make it again"):
        read_mask(keep("cut.png", encoded(".png", gray)[:-30]))


def test_a_cut_out_still_tells_what_was_photographed_around_it(keep):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    alpha = np.zeros((12, 16), np.uint8)
    alpha[3:9, 4:12] = 255
    cut = np.dstack([pixels, alpha])
    kept = keep("cut.png", encoded(".png", Image.fromarray(cut)))
    assert np.array_equal(read_uncut(kept).numpy(), cut)
    assert (read_image(kept).numpy()[0] == 255).all()
    cut[alpha == 0] = 0
    assert read_uncut(keep("erased.png", encoded(".png", Image.fromarray(cut)))) is None
    cut[..., 3] = 255
    assert read_uncut(keep("opaque.png", encoded(".png", Image.fromarray(cut)))) is None
    assert read_uncut(keep("photo.jpg", encoded(".jpg"))) is None


def test_a_plain_png_is_told_by_its_chunks():
    """Whatever needs Pillow to read (alpha, palette, EXIF behind the pixels, a cut file) is not called plain."""
    rgb = Image.new("RGB", (7, 5), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    with_exif = io.BytesIO()
    rgb.save(with_exif, "PNG", exif=exif)
    plain = io.BytesIO()
    rgb.save(plain, "PNG")
    others = [with_exif.getvalue(), plain.getvalue()[:20], b"", b"\x89PNG"]
    for mode in ("RGBA", "P", "L"):
        other = io.BytesIO()
        rgb.convert(mode).save(other, "PNG")
        others.append(other.getvalue())
    assert plain_png_size(io.BytesIO(plain.getvalue())) == (7, 5)
    assert [plain_png_size(io.BytesIO(data)) for data in others] == [None] * len(others)


def test_a_picture_that_opencv_cannot_encode_lacked_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.encoded(".png", np.zeros((4, 3, 3), np.uint8)).startswith(b"\x89PNG")
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(MemoryError, match="3x4 pixels"):
        images.encoded(".png", np.zeros((4, 3, 3), np.uint8))
