"""What this project stands on: every package with its version and its license, and the versions that CI installs.

python -m benchmarks.supply licenses       a table of all packages that requirements.txt brings, as installed here
python -m benchmarks.supply lock           writes requirements-lock.txt: their versions, and those of the tests' tools
python -m benchmarks.supply wheels         builds each wheel twice and says whether both are the same to the byte
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-lock.txt"
_OURS = {"diff-gaussian-rasterization", "simple-knn", "splatpose"}
_INSTALLERS = {"pip", "setuptools", "wheel"}  # an environment of pip's own for building takes what it needs
_WHEELS = (".", "submodules/diff-gaussian-rasterization", "submodules/simple-knn")


def direct() -> list[Requirement]:
    """The lines of requirements.txt, without our own packages."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("./")]


def of_groups() -> list[Requirement]:
    """The tools of the dependency groups in pyproject.toml."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [Requirement(line) for lines in groups.values() for line in lines if isinstance(line, str)]


def closure(wanted: Iterable[Requirement]) -> dict[str, Distribution]:
    """The installed packages that the wanted ones need, themselves included, by name."""
    found: dict[str, Distribution] = {}
    todo = [(requirement, "") for requirement in wanted]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        known = name in found
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        if not known or requirement.extras:
            lines = [Requirement(line) for line in found[name].requires or ()]
            todo += [(line, inner) for line in lines for inner in ("", *sorted(requirement.extras))]
    return {name: found[name] for name in sorted(found) if name not in _OURS | _INSTALLERS}


def canonical(name: str) -> str:
    """A package's name as the registry compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def license_of(package: Distribution) -> str:
    """What a package says of its license: the expression, the classifiers, or the first line of the text."""
    facts = package.metadata
    if expression := facts.get("License-Expression"):
        return str(expression)
    classifiers = [c.rpartition(" :: ")[2] for c in facts.get_all("Classifier") or () if c.startswith("License ::")]
    text = str(facts.get("License") or "").strip().splitlines()
    return ", ".join(c for c in classifiers if c != "OSI Approved") or (text[0] if text else "not said")


def write_lock() -> None:
    """The versions installed here, without the local part that says for which GPU torch was built."""
    packages = closure([*direct(), *of_groups()])
    lines = [f"{name}=={package.version.partition('+')[0]}" for name, package in packages.items()]
    head = (
        "# The versions that CI installs, by `python -m benchmarks.supply lock`; requirements.txt gives the ranges.\n"
    )
    LOCK.write_text(head + "\n".join(lines) + "\n")


def wheel_sums(place: Path) -> dict[str, str]:
    """The wheels of this repository, built in a folder, and the sums of their bytes."""
    for source in _WHEELS:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(place)]
        subprocess.run(
            [*command, str(ROOT / source)], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.glob("*.whl"))}


def main() -> int:
    """Runs one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("licenses", "lock", "wheels"))
    command = parser.parse_args().command
    if command == "lock":
        write_lock()
    elif command == "licenses":
        for name, package in closure(direct()).items():
            print(f"{name:<36} {package.version:<18} {license_of(package)}")
    else:
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            sums = wheel_sums(Path(first)), wheel_sums(Path(second))
        for name, value in sums[0].items():
            print(f"{name}: {'the same' if sums[1].get(name) == value else 'DIFFERENT'}")
        return int(sums[0] != sums[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
