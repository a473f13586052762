import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

import prepare_synthetic_ad
from gaussian_splatting.camera import Camera
from PAD_utils.data.mad import load_class
from PAD_utils.errors import UserError
from PAD_utils.synthetic import SyntheticConfig, defect_mask, look_at, rig_poses, write_synthetic_class
from PAD_utils.synthetic.animals import PALETTES, RADIUS, build_animal
from PAD_utils.synthetic.defects import DEFECTS, add_burrs, add_stains, remove_part
from PAD_utils.synthetic.render import CAMERA_ANGLE_X_RAD, Light, Renderer
from PAD_utils.synthetic.shapes import Part, brick, fitted, merge

DEMO = Path(__file__).parent.parent / "assets" / "demo"
TINY = SyntheticConfig(name="00Tiny", size=40, views_per_ring=1, good=1, defects=1, samples=4)
COLORS = PALETTES["colourful"]


@pytest.fixture
def mitsuba() -> ModuleType:
    """Mitsuba in its scalar variant: for tiny pictures it is faster than compiling kernels for LLVM."""
    module = pytest.importorskip("mitsuba", reason="Mitsuba is not installed")
    module.set_variant("scalar_rgb")
    return module


def test_the_rig_is_that_of_mad_sim() -> None:
    poses = rig_poses(3.5)
    assert len(poses) == 210
    for pose in poses:
        assert np.allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3)) and np.linalg.det(pose[:3, :3]) > 0
        assert np.linalg.norm(pose[:3, 3]) == pytest.approx(3.5)
        assert np.allclose(pose[:3, 2], pose[:3, 3] / 3.5)  # looks along -z at the origin
        assert pose[2, 0] == pytest.approx(0) and pose[2, 1] > 0  # upright
    elevations = np.degrees(np.arcsin([pose[2, 3] / 3.5 for pose in poses]))
    assert elevations[0] == pytest.approx(85) and elevations[15] == pytest.approx(85 - 13.08)
    assert elevations[-1] == pytest.approx(-85.04)


def test_a_thinner_rig_takes_places_of_the_full_one() -> None:
    full, thin = rig_poses(3.0), rig_poses(3.0, 5)
    nearest = np.abs(np.stack(thin)[:, None] - np.stack(full)[None]).max((2, 3)).min(1)
    assert len(thin) == 70 and nearest.max() < 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_animals_are_sound_and_differ(seed: int) -> None:
    parts = build_animal(seed, COLORS)
    mesh = merge(parts)
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(RADIUS)
    assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.vertices) - 1
    assert len({part.name for part in parts}) == len(parts) and sum(part.loose for part in parts) >= 4
    other = merge(build_animal(seed + 1, COLORS))
    assert other.vertices.shape != mesh.vertices.shape or not np.allclose(other.vertices)
    mirrored = mesh.vertices * [1, -1, 1]
    distance = np.linalg.norm(mirrored[:, None] - mesh.vertices[None, ::3], axis=-1).min(0)
    assert distance.max() > 0.01  # left and right differ, so poses are unambiguous


def volume(part: Part) -> float:
    a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("seed", range(4))
def test_every_part_is_closed_and_faces_outward(seed: int) -> None:
    for part in build_animal(seed, COLORS):
        edges = np.concatenate([part.faces[:, [0, 1]], part.faces[:, [1, 2]], part.faces[:, [2, 0]]])
        counts = {tuple(edge): 0 for edge in edges.tolist()}
        for edge in edges.tolist():
            counts[tuple(edge)] += 1
        assert all(n == 1 and counts.get((b, a)) == 1 for (a, b), n in counts.items()), part.name
        assert volume(part) > 0, part.name


def test_a_missing_part_takes_along_what_hangs_on_it() -> None:
    size, red = (1.0, 1.0, 1.0), (1.0, 0.0, 0.0)
    parts = [brick(name, (0.0, 0.0, 0.0), size, red, loose=name == "b") for name in ("a", "b", "b/c", "bc")]
    assert [p.name for p in remove_part(parts, np.random.default_rng(0))] == ["a", "bc"]


def test_burrs_stand_on_an_edge_in_the_color_of_the_part() -> None:
    parts = fitted([brick("a", (0.0, 0.0, 0.0), (4.0, 2.0, 1.2), (0.2, 0.3, 0.4))], RADIUS)
    for seed in range(20):
        burrs = add_burrs(parts, np.random.default_rng(seed))[-1]
        assert burrs.color == (0.2, 0.3, 0.4)
        outside = np.maximum(np.array(parts[0].low) - burrs.vertices, burrs.vertices - np.array(parts[0].high)).max(1)
        tips = burrs.vertices[4::5]
        assert outside[4::5].max() > 0.01 and len(tips) >= 2
        inside = np.stack([burrs.vertices - parts[0].low, parts[0].high - burrs.vertices]).min(0)
        assert (np.sort(np.abs(inside), axis=1)[:, 1] < 0.09).all()  # near two faces at once: an edge


def test_stains_lie_on_a_face_in_another_color() -> None:
    parts = fitted([brick("a", (0.0, 0.0, 0.0), (4.0, 2.0, 1.2), (0.5, 0.5, 0.5), studs=False)], RADIUS)
    low, high = np.array(parts[0].low), np.array(parts[0].high)
    for seed in range(30):
        stain = add_stains(parts, np.random.default_rng(seed))[-1]
        assert np.abs(np.array(stain.color) - 0.5).max() > 0.1
        assert (stain.vertices >= low - 0.003).all() and (stain.vertices <= high + 0.003).all()
        flat = np.ptp(stain.vertices, axis=0).min()
        assert flat < 1e-9


@pytest.mark.usefixtures("mitsuba")
def test_a_known_point_lands_on_the_pixel_the_camera_says() -> None:
    parts = [brick("a", (0.3, -0.05, 0.2), (0.1, 0.1, 0.1), (0.9, 0.1, 0.1), studs=False)]
    renderer = Renderer(64, 4)
    pose = look_at(0.7, 0.4, 3.0)
    picture = renderer.picture(renderer.scene(merge(parts), Light()), pose, 0)
    camera = Camera.from_blender(torch.from_numpy(pose), CAMERA_ANGLE_X_RAD, 64, 64)
    x, y, z, _ = camera.cam_from_world @ torch.tensor([0.35, 0.0, 0.25, 1.0], dtype=torch.float64)
    rows, columns = np.nonzero(picture[..., 1] < 200)
    assert columns.mean() + 0.5 == pytest.approx(float(camera.fx * x / z + camera.cx), abs=0.6)
    assert rows.mean() + 0.5 == pytest.approx(float(camera.fy * y / z + camera.cy), abs=0.6)
    assert (picture[0, 0] == 255).all()


@pytest.mark.usefixtures("mitsuba")
def test_gain_and_light_change_the_object_only() -> None:
    mesh, pose = merge(build_animal(0, COLORS)), look_at(0.5, 0.3, 3.0)
    renderer = Renderer(48, 4)
    plain = renderer.picture(renderer.scene(mesh, Light()), pose, 0).astype(int)
    bright = renderer.picture(renderer.scene(mesh, Light()), pose, 0, gain=1.2).astype(int)
    turned = renderer.picture(renderer.scene(mesh, Light(azimuth_deg=215.0)), pose, 0).astype(int)
    background = (plain == 255).all(-1)
    assert 0.5 < background.mean() < 0.95
    assert (bright[background] == 255).all() and (turned[background] == 255).all()
    assert bright[~background].mean() > plain[~background].mean() + 5
    assert np.abs(turned - plain).max() > 10


@pytest.mark.usefixtures("mitsuba")
@pytest.mark.parametrize("kind", list(DEFECTS))
def test_masks_are_the_true_difference(kind: str) -> None:
    parts = build_animal(0, COLORS)
    renderer = Renderer(64, 9)
    good = renderer.scene(merge(parts), Light())
    seen = 0
    for seed in (1, 6):
        bad = renderer.scene(merge(DEFECTS[kind](parts, np.random.default_rng(seed))), Light())
        for azimuth in (0.6, 3.7):
            pose = look_at(azimuth, 0.35, 3.0)
            surfaces = [renderer.surface(scene, pose, 2) for scene in (good, bad)]
            assert not defect_mask(surfaces[0], renderer.surface(good, pose, 2), 64).any()
            mask = defect_mask(surfaces[0], surfaces[1], 64)
            pictures = [renderer.picture(scene, pose, 7).astype(int) for scene in (good, bad)]
            difference = np.abs(pictures[0] - pictures[1]).max(-1)
            near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) > 0
            assert (difference[~near] > 45).sum() == 0  # occlusion near the defect changes the shading a little
            seen += int((difference[mask] > 20).sum())
    assert seen >= 3


@pytest.mark.usefixtures("mitsuba")
def test_a_class_is_complete_reproducible_and_goes_on_after_a_cut(tmp_path: Path) -> None:
    root = write_synthetic_class(tmp_path / "a", TINY)
    data = load_class(tmp_path / "a", TINY.name)
    assert data.kind == "mad" and len(data.gallery) == 14
    assert [s.defect for s in data.test] == ["Burrs", "Missing", "Stains", "good"]
    for sample in data.test:
        assert sample.camera is not None and (sample.mask is not None and sample.mask.any()) == bool(sample.label)
        assert tuple(sample.image[0, 0].tolist()) == (255, 255, 255)
    files = {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    for name in ("train/good/3.png", "test/Stains/0.png", "transforms_test.json"):
        (root / name).unlink()
    write_synthetic_class(tmp_path / "a", TINY)
    assert {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} == files


@pytest.mark.usefixtures("mitsuba")
def test_two_classes_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / TINY.name).mkdir()
    other = asdict(SyntheticConfig(name=TINY.name, seed=5, good=40))
    (tmp_path / TINY.name / "synthetic.json").write_text(json.dumps(other))
    assert prepare_synthetic_ad.main(["--out", str(tmp_path), "--name", TINY.name]) == 2
    assert "another seed" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "values", [{"size": 3}, {"views_per_ring": 16}, {"palette": "plaid"}, {"distance": 0.1}, {"seed": -1}]
)
def test_settings_out_of_range_are_said(values: dict) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(values))}"):
        SyntheticConfig(**values)


def test_without_mitsuba_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mitsuba", None)
    with pytest.raises(UserError, match="pip install mitsuba"):
        Renderer(8, 1)


def test_the_embedded_class_is_what_its_readme_says() -> None:
    data = load_class(DEMO, "00Demo")
    assert len(data.gallery) == 70 and data.gallery[0].image.shape == (200, 200, 3)
    counts = {kind: sum(s.defect == kind for s in data.test) for kind in ("good", "Burrs", "Missing", "Stains")}
    assert counts == dict.fromkeys(counts, 6)
    assert all(s.camera is not None for s in data.test)
    settings = json.loads((DEMO / "00Demo" / "synthetic.json").read_text())
    assert SyntheticConfig(**settings) == SyntheticConfig()
    assert sum(p.stat().st_size for p in (DEMO / "00Demo").rglob("*") if p.is_file()) < 2.5e6


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        prepare_synthetic_ad.main(["--help"])
    assert exit_.value.code == 0 and "libllvm19" in capsys.readouterr().out
