"""Ray, where it is installed."""

import os
import sys
import types

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


def test_ray_that_starts_slowly_has_more_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def init(address: str, **_: object) -> None:
        begun.append(address)
        if len(begun) != 3:
            raise Exception("The current node timed out during startup.")

    slow = types.ModuleType("ray")
    slow.init, slow.shutdown = init, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", slow)
    monkeypatch.setattr(scale, "has_ray", lambda: True)
    with scale.ray_cluster(gpus=0):
        assert begun == ["local"] * 3
    with pytest.raises(UserError, match="too busy"), scale.ray_cluster(gpus=0):
        pass


@pytest.mark.skipif(not scale.has_ray(), reason="Ray is not installed")
def test_workers_are_other_processes_and_end_with_the_block() -> None:
    with scale.ray_cluster(gpus=0) as ray:
        worker = ray.get(ray.remote(lambda: os.getpid()).remote())
    assert worker != os.getpid()
    assert not ray.is_initialized()
