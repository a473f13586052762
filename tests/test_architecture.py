"""Files stay short. That imports go one way, and never in a circle, is held by import-linter in `make lint`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400


def test_files_are_short() -> None:
    folders = ("gaussian_splatting", "PAD_utils", "submodules", "tests", "benchmarks")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "build" not in path.parts]
    sources = [path for path in paths if path.suffix in {".py", ".h", ".cpp", ".cu", ".cuh"}]
    long = {
        str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long, f"two rooms in one? {long}"
