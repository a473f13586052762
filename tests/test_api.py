"""The packages as a program of one's own uses them: the examples of docs/api.md, and imports without side effects."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["train and render", "inspect"])
def test_the_examples_run_as_they_stand(
    example: str, fake_mad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a tiny class and with few iterations: three words are exchanged."""
    for written, meant in {
        '"MAD-Sim"': f'"{fake_mad}"',
        "01Gorilla": "00Fake",
        "fast()": "fast(iterations=60)",
    }.items():
        assert written in example
        example = example.replace(written, meant)
    monkeypatch.setattr("PAD_utils.pose.bank.VIEWS", 80)
    monkeypatch.chdir(fake_mad)
    (fake_mad / "00Fake" / "test" / "good" / "0.png").rename("photo.png")
    exec(compile(example, "docs/api.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_importing_the_packages_is_quick_and_changes_nothing() -> None:
    program = """
import os, sys
before = dict(os.environ)
import gaussian_splatting, PAD_utils
assert "torch" not in sys.modules
names = [getattr(package, name) for package in (gaussian_splatting, PAD_utils) for name in package.__all__]
assert len(names) >= 20 and all(callable(name) for name in names)
changed = {name for name in os.environ if os.environ[name] != before.get(name)}
assert changed <= {"LD_LIBRARY_PATH"}, changed  # OpenCV's doing
assert not hasattr(PAD_utils, "nothing_of_that_name")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_public_names_have_docstrings() -> None:
    import gaussian_splatting
    import PAD_utils

    for package in (gaussian_splatting, PAD_utils):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name
