"""Fixtures that every test file may use."""

import shutil
from pathlib import Path

import PAD_utils.run.start  # noqa: F401 (first of all)  # isort: skip
import pytest
import torch

from tests.fake_class import QUICK_JOB, write_fake_class
from train_and_render import main


@pytest.fixture(
    params=["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device of this machine."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def _fake_mad_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_path = tmp_path_factory.mktemp("fake_mad")
    write_fake_class(data_path)
    return data_path


@pytest.fixture
def fake_mad(_fake_mad_once: Path, tmp_path: Path) -> Path:
    """A data path with the class 00Fake: 32 px, 18 training views, 3 test pictures of each kind, masks, test poses.

    The test may change it: it is a copy of its own.
    """
    return Path(shutil.copytree(_fake_mad_once, tmp_path / "MAD-Fake"))


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data_path = tmp_path_factory.mktemp("trained")
    write_fake_class(data_path)
    assert main([*QUICK_JOB, "-data_path", str(data_path)]) == 0
    return data_path


@pytest.fixture
def trained(_trained_once: Path, tmp_path: Path) -> Path:
    """The data path of `fake_mad` after the main job, a copy of the test's own."""
    return Path(shutil.copytree(_trained_once, tmp_path / "MAD-Fake"))
