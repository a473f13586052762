"""The two submodules as packages of their own: wheels that hold all they need and run outside of this repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SUBMODULES = Path(__file__).parents[1] / "submodules"
DRAW = """
import warnings, torch
from diff_gaussian_rasterization import GaussianRasterizationSettings, GaussianRasterizer
from diff_gaussian_rasterization.sources import csrc_dir
from simple_knn._C import distCUDA2
warnings.simplefilter("ignore")  # no compiler was given: the reference draws
eye = torch.eye(4)
view = GaussianRasterizationSettings(8, 8, 0.5, 0.5, torch.zeros(3), 1.0, eye, eye, 0, torch.zeros(3), False, False)
means, ones = torch.tensor([[0.0, 0.0, 2.0]]), torch.ones(1, 3)
image, radii = GaussianRasterizer(view)(means, None, ones[:, :1], colors_precomp=ones, cov3D_precomp=torch.ones(1, 6))
assert image.max() > 0.9 and radii.item() > 0 and distCUDA2(torch.rand(9, 3)).shape == (9,)
assert (csrc_dir() / "cuda" / "blend.cu").is_file() and (csrc_dir() / "common" / "blend.h").is_file()
print(csrc_dir())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, built as where there is no compiler (with one it takes a minute more), in an empty folder."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [shutil.copytree(path, folder / path.name, ignore=_BUILT) for path in sorted(SUBMODULES.iterdir())]
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder / "w")]
    environment = {**os.environ, "CC": "false", "CXX": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run([*command, *map(str, sources)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for wheel in (folder / "w").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


_BUILT = shutil.ignore_patterns("*.so", "build", "*.egg-info", "__pycache__")


def test_the_wheels_draw_outside_of_the_repository(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", DRAW], env=environment, cwd=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_wheels_carry_their_readme_and_license(installed: Path) -> None:
    for name in ("diff_gaussian_rasterization", "simple_knn"):
        (metadata,) = installed.glob(f"{name}-*.dist-info/METADATA")
        text = metadata.read_text()
        assert "License-Expression: Apache-2.0" in text
        assert (SUBMODULES / name.replace("_", "-") / "README.md").read_text().strip() in text
