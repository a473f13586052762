"""Files stay short, functions take few arguments, references are imported by tests and the fallback alone. That imports
go one way, and never in a circle, is held by import-linter in `make lint`."""

import ast
from collections.abc import Iterator
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


MOST_PARAMETERS = 8


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    """(file:name, how many parameters a caller can give) of every function, methods and nested ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            yield f"{path.relative_to(ROOT)}:{node.name}", sum(a.arg not in ("self", "cls") for a in given)


def product_files() -> list[Path]:
    kernels = (ROOT / "submodules").glob("*/*/__init__.py")
    folders = [ROOT / "gaussian_splatting", ROOT / "PAD_utils", *(path.parent for path in kernels)]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def test_functions_take_at_most_eight_parameters() -> None:
    found = dict(pair for path in product_files() for pair in functions_of(path))
    assert len(found) > 300
    assert not {name: count for name, count in found.items() if count > MOST_PARAMETERS}


def test_references_are_imported_by_the_fallback_alone() -> None:
    importing = {
        path.name
        for path in product_files()
        if "diff_gaussian_rasterization.reference" in path.read_text() and path.parent.name != "reference"
    }
    assert importing == {"ops.py", "pose.py"}, "with their warning"
