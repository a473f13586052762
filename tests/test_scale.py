"""Ray, where it is installed."""

import os

import pytest

from PAD_utils.errors import UserError
from PAD_utils.run import scale


def test_without_ray_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "has_ray", lambda: False)
    with pytest.raises(UserError, match="pip install --group scale"), scale.ray_cluster():
        pass


@pytest.mark.skipif(not scale.has_ray(), reason="Ray is not installed")
def test_an_address_where_nobody_answers_is_named() -> None:
    with pytest.raises(UserError, match="127.0.0.1:1"), scale.ray_cluster("127.0.0.1:1"):
        pass


@pytest.mark.skipif(not scale.has_ray(), reason="Ray is not installed")
def test_workers_are_other_processes_and_end_with_the_block() -> None:
    with scale.ray_cluster(gpus=0) as ray:
        worker = ray.get(ray.remote(lambda: os.getpid()).remote())
    assert worker != os.getpid()
    assert not ray.is_initialized()
