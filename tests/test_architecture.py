"""Files stay short, functions take few arguments, references are imported by tests and the fallback alone. That imports
go one way, and never in a circle, is held by import-linter in `make lint`."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    assert importing == {"ops.py", "pose.py", "pose_step.py"}, "with their warning"


DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
SOURCE_FILE = re.compile(r"[\w./-]*\w\.(?:py|cu|cpp|h|sh)\b(?!:\w)")  # FILE.py:CLASS is a file of the user's
DOTTED = re.compile(r"\b(?:gaussian_splatting|PAD_utils|diff_gaussian_rasterization|simple_knn)(?:\.\w+)+")
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:[\w-]+/)+[\w.-]*)`")


def is_there(dotted: str) -> bool:
    """Whether a module of this name, or something in one, exists."""
    first, *rest = dotted.split(".")
    found, name = importlib.import_module(first), first
    for part in rest:
        name = f"{name}.{part}"
        try:
            found = getattr(found, part, None) or importlib.import_module(name)
        except ImportError:
            return False
    return True


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_docs_name_only_what_exists(page: Path) -> None:
    text = page.read_text()
    ours = ("gaussian_splatting", "PAD_utils", "submodules", "tests", "benchmarks", "docs")
    paths = [*ROOT.glob("*"), *(path for folder in ours for path in (ROOT / folder).rglob("*"))]
    files = {f"/{path.relative_to(ROOT)}" for path in paths}
    gone = [name for name in SOURCE_FILE.findall(text) if not any(file.endswith(f"/{name}") for file in files)]
    gone += [name for name in DOTTED.findall(text) if not is_there(name)]
    gone += [name for name in LINK.findall(text) if not (page.parent / name).exists()]
    named = [name for name in PATH.findall(text) if name.split("/")[0] in (*ours, "csrc")]
    gone += [name for name in named if not (ROOT / name).exists()]
    assert not gone


def test_a_name_that_does_not_exist_is_found() -> None:
    assert is_there("PAD_utils.Inspector.load")
    assert not is_there("PAD_utils.layout") and not is_there("PAD_utils.run.x.y")
