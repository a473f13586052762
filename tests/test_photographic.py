"""Synthetic photographs: every effect alone, and truths that are true."""

import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import prepare_synthetic_ad
from PAD_utils.errors import UserError
from PAD_utils.synthetic.animals import PALETTES, build_animal
from PAD_utils.synthetic.photographic import PhotographicConfig, photo_path, write_photographs
from PAD_utils.synthetic.shapes import merge
from PAD_utils.synthetic.studio import EFFECTS, Exposure, PhotoLens, Studio, draw_exposure, photo_lens

TINY = PhotographicConfig(name="t", width=64, photos=3, good=1, defects=1, samples=4)


@pytest.fixture
def mitsuba() -> ModuleType:
    """The scalar variant: for tiny pictures it is faster than compiling kernels for LLVM."""
    module = pytest.importorskip("mitsuba", reason="Mitsuba is not installed")
    module.set_variant("scalar_rgb")
    return module


def one_photograph(*effects: str) -> np.ndarray:
    """The first viewpoint of seed 0, 96x72, with these effects alone."""
    chosen = frozenset(effects)
    mesh = merge(build_animal(0, PALETTES["colourful"]))
    studio = Studio(photo_lens(96, 72, chosen), chosen, float(mesh.vertices[:, 2].min()), 64, 0)
    pose = photo_path(PhotographicConfig(photos=4, effects=()))[0]
    exposure = draw_exposure(np.random.default_rng(3), chosen)
    return studio.photograph(studio.scene(mesh), pose, exposure, 5).astype(float)


def test_without_effects_the_backdrop_is_even(mitsuba: ModuleType) -> None:
    corner = one_photograph()[:8, :8]
    assert corner.std() < 1 and 200 < corner.mean() < 250


@pytest.mark.parametrize("effect", ["table", "shadow", "vignetting", "exposure", "noise"])
def test_an_effect_alone_changes_what_it_should(mitsuba: ModuleType, effect: str) -> None:
    plain, other = one_photograph(), one_photograph(effect)
    corner, bare = other[:10, :10], plain[:10, :10]
    if effect == "table":
        assert plain[-6:].std() < 1 and other[-6:].std() > 8
    elif effect == "shadow":  # it falls on the table: darker there than the lamp's light makes the rest
        ratio = one_photograph("table", "shadow") / one_photograph("table")
        assert np.percentile(ratio, 2) < 0.75 * np.percentile(ratio, 95)
    elif effect == "vignetting":
        assert corner.mean() < 0.93 * bare.mean() and other[36, 48] == pytest.approx(plain[36, 48], abs=3)
    elif effect == "exposure":
        assert np.abs(np.log(corner.mean((0, 1)) / bare.mean((0, 1)))).max() > 0.02
    else:
        assert 1.2 < corner.std() < 3.5


def test_a_lens_is_undone_by_its_own_model() -> None:
    lens = photo_lens(80, 60, frozenset(EFFECTS))
    rays = lens.rays()
    shown = lens.distorted(rays) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    y, x = np.mgrid[:60, :80] + 0.5
    assert np.abs(shown - np.stack([x, y], -1)).max() < 1e-6
    flat = photo_lens(80, 60, frozenset())
    assert (flat.cx, flat.cy, flat.k) == (40, 30, (0, 0, 0, 0)) and lens.cx != 40 and any(lens.k)


def test_effects_that_are_off_do_not_move_the_others() -> None:
    on, off = (draw_exposure(np.random.default_rng(1), frozenset(e)) for e in (("exposure",), ()))
    assert off == Exposure((1.0, 1.0, 1.0)) and on != off
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    draw_exposure(a, frozenset(("exposure",)))
    draw_exposure(b, frozenset())
    assert a.random() == b.random()


def test_a_path_by_hand_wanders_and_has_a_gap() -> None:
    by_hand = np.stack(photo_path(PhotographicConfig(effects=("path",))))
    exact = np.stack(photo_path(PhotographicConfig(effects=())))
    assert len(by_hand) == len(exact) == 40
    assert (
        np.ptp(np.linalg.norm(exact[:, :3, 3], axis=1)) < 1e-9 < 0.1 < np.ptp(np.linalg.norm(by_hand[:, :3, 3], axis=1))
    )
    azimuths = [np.sort(np.arctan2(p[20:, 1, 3], p[20:, 0, 3])) for p in (by_hand, exact)]
    gaps = [np.degrees(np.diff(np.append(a, a[0] + 2 * np.pi)).max()) for a in azimuths]
    assert gaps[1] == pytest.approx(18, abs=0.1) and gaps[0] > 50


def test_the_truths_fit_the_photographs(mitsuba: ModuleType, tmp_path: Path) -> None:
    root = write_photographs(tmp_path, TINY)
    truth = json.loads((root / "truth.json").read_text())
    lens = PhotoLens(*(truth[key] for key in ("width", "height", "fx", "fy", "cx", "cy")), tuple(truth["k"]))
    vertices = merge(build_animal(0, PALETTES["colourful"])).vertices
    for number in range(3):
        pose = np.array(truth["frames"][f"photos/{number:03d}"]["transform_matrix"]) @ np.diag([1.0, -1, -1, 1])
        seen = (vertices - pose[:3, 3]) @ pose[:3, :3]
        shown = lens.distorted(seen[:, :2] / seen[:, 2:]) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
        rows, columns = np.nonzero(cv2.imread(str(root / f"masks/{number:03d}.png"), cv2.IMREAD_GRAYSCALE))
        found = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
        expected = (*np.array([shown[:, 0].min(), shown[:, 0].max()]), shown[:, 1].min(), shown[:, 1].max())
        assert found == pytest.approx(expected, abs=1.5)  # tips thinner than half a pixel are not in the mask
        assert cv2.imread(str(root / f"photos/{number:03d}.jpg")).shape == (48, 64, 3)
    for kind in ("Burrs", "Missing", "Stains"):
        assert cv2.imread(str(root / f"query_masks/{kind}/000.png"), cv2.IMREAD_GRAYSCALE).max() == 255
        assert (root / f"queries/{kind}/000.jpg").is_file()
    before = (root / "photos/001.jpg").stat().st_mtime_ns
    write_photographs(tmp_path, TINY)
    assert (root / "photos/001.jpg").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="photographs of another seed"):
        write_photographs(tmp_path, PhotographicConfig(**{**TINY.__dict__, "seed": 1}))


def test_the_command_line_knows_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = prepare_synthetic_ad.parse(["--out", "x", "--photographic", "--effects", "noise,table"])
    assert arguments["effects"] == ("table", "noise") and "views_per_ring" not in arguments
    assert prepare_synthetic_ad.parse(["--out", "x", "--photographic", "--effects", "none"])["effects"] == ()
    assert prepare_synthetic_ad.main(["--out", "x", "--photographic", "--effects", "fog"]) == 2
    assert "--effects knows no fog" in capsys.readouterr().err
