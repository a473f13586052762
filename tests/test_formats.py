from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from gaussian_splatting.crop import of_object
from gaussian_splatting.export import export, main
from gaussian_splatting.formats import load_model
from gaussian_splatting.formats.morton import morton_order
from gaussian_splatting.gaussians import SH_C0, Gaussians
from gaussian_splatting.geometry import rotation_matrices
from gaussian_splatting.ply import load_ply, save_ply
from tests.toy_scene import ball

PLAYCANVAS = Path(__file__).parent / "data/playcanvas"


def _model(degree: int = 2, count: int = 700) -> Gaussians:
    """Gaussians of every size, turn, color and opacity; more than two chunks of a compressed PLY."""
    g = torch.Generator().manual_seed(degree)
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=g) * 0.3
    sh[:, 0] = (torch.rand(count, 3, generator=g) - 0.5) / SH_C0
    scales = torch.rand(count, 3, generator=g) * 4 - 6
    quats, opacity = torch.randn(count, 4, generator=g), torch.randn(count, generator=g) * 2
    return Gaussians(torch.randn(count, 3, generator=g) * 0.4, scales, quats, opacity, sh)


def _matched(original: Gaussians, back: Gaussians) -> tuple[Gaussians, Gaussians]:
    """`back` in the order of the original, by the nearest position."""
    distance = torch.cdist(original.means.double(), back.means.double())
    nearest = distance.argmin(1)
    assert len(back) == len(original) == len(nearest.unique())
    return original, back[nearest]


def _angles(a: Gaussians, b: Gaussians) -> torch.Tensor:
    """Between the rotations of two models, in radians."""
    turn = rotation_matrices(a.quats.double()).mT @ rotation_matrices(b.quats.double())
    return ((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).arccos()


def _assert_compressed(original: Gaussians, back: Gaussians) -> None:
    """Each error within half a step of the format, whose steps follow from the range of a chunk."""
    a, b = _matched(original, back)
    order = torch.from_numpy(morton_order(original.means.numpy()))
    for chunk in order.split(256):
        for name, bits in (("means", (11, 10, 11)), ("log_scales", (11, 10, 11))):
            x, y = getattr(a, name)[chunk].double(), getattr(b, name)[chunk].double()
            step = (x.amax(0) - x.amin(0)) / (2.0 ** torch.tensor(bits) - 1)
            assert ((x - y).abs() <= step / 2 + 1e-6).all(), name
        color = a.sh[chunk, 0].double()
        step = (color.amax(0) - color.amin(0)) / 255
        assert ((color - b.sh[chunk, 0]).abs() <= step / 2 + 1e-5).all()
    assert float((a.opacities - b.opacities).abs().max()) <= 0.5 / 255 + 1e-6
    assert float(_angles(a, b).max()) < 2 * 3**0.5 * (2**0.5 / 1023)  # three parts, each within half a step
    if original.sh_degree:
        assert float((a.sh[:, 1:] - b.sh[:, 1:]).abs().max()) <= 4 / 256 + 1e-6


def _assert_splat(original: Gaussians, back: Gaussians) -> None:
    a, b = _matched(original, back)
    assert torch.equal(a.means, b.means)
    torch.testing.assert_close(a.log_scales, b.log_scales, rtol=0, atol=1e-6)
    assert float((a.opacities - b.opacities).abs().max()) <= 0.5 / 255 + 1e-6
    assert float(SH_C0 * (a.sh[:, 0] - b.sh[:, 0]).abs().max()) <= 0.5 / 255 + 1e-6
    assert float(_angles(a, b).max()) < 2 * 2 / 128
    assert b.sh_degree == 0


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_compressed_ply_reads_back_within_its_step(tmp_path: Path, degree: int) -> None:
    save_ply(tmp_path / "model.ply", _model(degree))
    export(tmp_path / "model.ply", tmp_path / "out.compressed.ply")
    back = load_model(tmp_path / "out.compressed.ply")
    assert back.sh_degree == degree
    _assert_compressed(_model(degree), back)
    assert (tmp_path / "out.compressed.ply").stat().st_size < (tmp_path / "model.ply").stat().st_size / 3


@pytest.mark.parametrize("degree", [0, 2])
def test_a_splat_file_reads_back_within_its_step(tmp_path: Path, degree: int) -> None:
    save_ply(tmp_path / "model.ply", _model(degree))
    export(tmp_path / "model.ply", tmp_path / "out.splat")
    assert (tmp_path / "out.splat").stat().st_size == 32 * 700
    _assert_splat(_model(degree), load_model(tmp_path / "out.splat"))


def test_the_largest_and_most_opaque_come_first(tmp_path: Path) -> None:
    save_ply(tmp_path / "model.ply", _model())
    export(tmp_path / "model.ply", tmp_path / "out.splat")
    back = load_model(tmp_path / "out.splat")
    weight = back.log_scales.sum(1) + _matched(back, _model())[1].opacities.log()
    assert (weight.diff() <= 1e-5).all()


@pytest.mark.parametrize(
    ("name", "back"), [("ours.compressed.ply", "ours_compressed.ply"), ("ours.splat", "ours_splat.ply")]
)
def test_playcanvas_reads_in_our_files_what_we_read(name: str, back: str) -> None:
    """benchmarks/playcanvas.py writes tests/data/playcanvas: our files, and what splat-transform read in them."""
    a, b = _matched(load_model(PLAYCANVAS / name), load_ply(PLAYCANVAS / back))
    torch.testing.assert_close(b.means, a.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(b.log_scales, a.log_scales, rtol=0, atol=1e-5)
    torch.testing.assert_close(b.sh, a.sh, rtol=0, atol=1e-5)
    torch.testing.assert_close(b.opacities, a.opacities, rtol=0, atol=1e-5)
    # Of the middle of the four bytes in .splat there are two readings, 128 (antimatter15's) and PlayCanvas' 127.5.
    assert float(_angles(a, b).max()) < (0.02 if name == "ours.splat" else 1e-3)


def test_we_write_what_playcanvas_reads(tmp_path: Path) -> None:
    """The kept files are those that the exporter writes today."""
    for name in ("ours.compressed.ply", "ours.splat"):
        export(PLAYCANVAS / "model.ply", tmp_path / name)
        a, b = _matched(load_model(PLAYCANVAS / name), load_model(tmp_path / name))
        for key, kept in a.as_dict().items():
            torch.testing.assert_close(b.as_dict()[key], kept, rtol=0, atol=0.02, msg=f"{name}: {key}")  # one step


def test_we_read_what_playcanvas_writes() -> None:
    a, b = _matched(load_ply(PLAYCANVAS / "model.ply"), load_model(PLAYCANVAS / "theirs.compressed.ply"))
    assert len(b) == 300 and b.sh_degree == 1
    assert float((a.means - b.means).abs().max()) < 0.003 and float((a.sh - b.sh).abs().max()) < 0.03


def test_chunks_of_one_value_and_of_few_gaussians_survive(tmp_path: Path) -> None:
    one = _model(0)[torch.zeros(300, dtype=torch.long)]  # the same Gaussian 300 times
    save_ply(tmp_path / "one.ply", one)
    export(tmp_path / "one.ply", tmp_path / "one.compressed.ply")
    torch.testing.assert_close(load_model(tmp_path / "one.compressed.ply").means, one.means, rtol=0, atol=1e-6)
    save_ply(tmp_path / "single.ply", _model(0, 1))
    export(tmp_path / "single.ply", tmp_path / "single.compressed.ply")
    assert len(load_model(tmp_path / "single.compressed.ply")) == 1


def test_crop_keeps_the_object_and_drops_what_floats(tmp_path: Path) -> None:
    model = ball(2000)
    floaters = replace(ball(15), means=ball(15).means * 6)
    both = Gaussians(
        *(torch.cat(pair) for pair in zip(*(m.as_dict().values() for m in (model, floaters)), strict=True))
    )
    kept = of_object(both)
    assert kept[:2000].all() and not kept[2000:].any()
    save_ply(tmp_path / "model.ply", both)
    export(tmp_path / "model.ply", tmp_path / "object.splat", [])
    assert len(load_model(tmp_path / "object.splat")) == 2000
    export(tmp_path / "model.ply", tmp_path / "top.splat", [0.0, 0.0, 0.5, 0.3])
    top = load_model(tmp_path / "top.splat")
    assert 0 < len(top) < 1000 and float((top.means - torch.tensor([0, 0, 0.5])).norm(dim=1).max()) <= 0.3


@pytest.mark.parametrize(
    ("model", "out", "crop", "words"),
    [
        ("model.ply", "out.spz", [], "splat-transform"),
        ("model.ply", "out.obj", [], "end it in .compressed.ply, .splat, .ply"),
        ("none.ply", "out.splat", [], "none.ply"),
        ("cut.ply", "out.splat", [], "not a complete PLY"),
        ("cut.compressed.ply", "out.splat", [], "not a complete compressed PLY"),
        ("cut.splat", "out.ply", [], "no multiple of 32"),
        ("nan.splat", "out.ply", [], "no finite number"),
        ("model.ply", "out.splat", ["--crop", "1", "2"], "X Y Z RADIUS"),
        ("model.ply", "out.splat", ["--crop", "9", "9", "9", "1"], "no Gaussian lies within"),
        ("model.ply", "model.ply/out.splat", [], "model.ply"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, out: str, crop: list[str], words: str
) -> None:
    save_ply(tmp_path / "model.ply", _model())
    (tmp_path / "cut.ply").write_bytes((tmp_path / "model.ply").read_bytes()[:5000])
    export(tmp_path / "model.ply", tmp_path / "cut.compressed.ply")
    (tmp_path / "cut.compressed.ply").write_bytes((tmp_path / "cut.compressed.ply").read_bytes()[:3000])
    (tmp_path / "cut.splat").write_bytes(b"x" * 100)
    (tmp_path / "nan.splat").write_bytes(np.full(8, np.nan, "<f4").tobytes())
    before = sorted(tmp_path.iterdir())
    assert main([str(tmp_path / model), str(tmp_path / out), *crop]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_sh_rows_of_a_compressed_ply_must_fit(tmp_path: Path) -> None:
    save_ply(tmp_path / "model.ply", _model(1))
    export(tmp_path / "model.ply", tmp_path / "a.compressed.ply")
    ply = PlyData.read(str(tmp_path / "a.compressed.ply"))
    ply["sh"].data = ply["sh"].data[:10]
    ply.write(str(tmp_path / "b.compressed.ply"))
    with pytest.raises(ValueError, match="10 rows of 9 harmonics"):
        load_model(tmp_path / "b.compressed.ply")


def test_morton_order_keeps_neighbors_together() -> None:
    points = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), -1).reshape(-1, 3)
    blocks = points[morton_order(points)].reshape(64, 8, 3)  # cubes of 2 x 2 x 2
    assert (np.ptp(blocks, axis=1) == 1).all()
