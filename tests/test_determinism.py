"""The table of docs/determinism.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_row_names_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "determinism.md").read_text()
    for file in re.findall(r"test_\w+\.py", text):
        assert (ROOT / "tests" / file).is_file(), file
    for file, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", text):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), name
