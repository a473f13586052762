import math

import pytest
import torch
from plyfile import PlyData

from gaussian_splatting.gaussians import Gaussians
from gaussian_splatting.ply import load_ply, save_ply


def model(degree=0, n=5):
    g = torch.Generator().manual_seed(degree)
    shapes = [(n, 3), (n, 3), (n, 4), (n,), (n, (degree + 1) ** 2, 3)]
    return Gaussians(*[torch.randn(*shape, generator=g) for shape in shapes])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip_is_exact(tmp_path, degree):
    original = model(degree)
    save_ply(tmp_path / "deep/m.ply", original)
    read = load_ply(tmp_path / "deep/m.ply")
    for name, value in original.as_dict().items():
        assert torch.equal(read.as_dict()[name], value), name
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["m.ply"]


def test_columns_are_those_of_3dgs_viewers(tmp_path):
    original = model(1)
    save_ply(tmp_path / "m.ply", original)
    vertex = PlyData.read(str(tmp_path / "m.ply"))["vertex"]
    names = [p.name for p in vertex.properties]
    rest = [f"f_rest_{i}" for i in range(9)]
    tail = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    assert names == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, *tail]
    assert vertex["f_rest_1"][0] == original.sh[0, 2, 0]  # red: coefficients 1, 2, 3, then green
    assert vertex["f_rest_3"][0] == original.sh[0, 1, 1]


def test_faults_are_named(tmp_path):
    path = tmp_path / "m.ply"
    with pytest.raises(ValueError, match="m.ply: cannot be read"):
        load_ply(path)
    path.write_bytes(b"no ply")
    with pytest.raises(ValueError, match="m.ply: not a complete PLY"):
        load_ply(path)
    save_ply(path, model())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="m.ply: not a complete PLY"):
        load_ply(path)
    save_ply(path, model())
    path.write_bytes(path.read_bytes().replace(b"opacity", b"opicaty"))
    with pytest.raises(ValueError, match="m.ply.*opacity are missing"):
        load_ply(path)
    bad = model()
    bad.means[0, 0] = math.nan
    save_ply(path, bad)
    with pytest.raises(ValueError, match="m.ply: means hold NaN"):
        load_ply(path)
    save_ply(path, model(n=0))
    with pytest.raises(ValueError, match="m.ply: holds no Gaussians"):
        load_ply(path)
