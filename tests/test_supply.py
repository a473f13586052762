"""The packages that this project stands on: locked, licensed, without known holes."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("tomllib")  # benchmarks.supply reads pyproject.toml; Python 3.11 and newer

from benchmarks.supply import LOCK, canonical, closure, direct, license_of, of_groups  # noqa: E402

ROOT = Path(__file__).parent.parent
COPYLEFT = re.compile(r"\bA?GPL|General Public", re.IGNORECASE)
UNSAID = {"cuda-toolkit"}  # NVIDIA's, an empty package that names others
# What pip-audit says when the registry cannot be reached; any other failure is ours.
NO_ANSWER = re.compile(r"requests\.exceptions\.|ConnectionError|HTTPError|Max retries|[Tt]imed? ?out|ServiceError")


def locked() -> dict[str, str]:
    lines = (line for line in LOCK.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def test_the_lock_keeps_to_the_ranges_and_ci_installs_it() -> None:
    versions = locked()
    for requirement in (*direct(), *of_groups()):
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(versions[canonical(requirement.name)]), requirement
    assert "PIP_CONSTRAINT" in (ROOT / ".ci" / "run").read_text()


def test_every_package_says_its_license_and_none_forces_it_on_ours() -> None:
    for name, package in closure(direct()).items():
        license = license_of(package)
        assert license != "not said" or name in UNSAID, name
        assert not COPYLEFT.search(license.replace("LGPL", "")), f"{name}: {license}"


def test_no_locked_package_has_a_known_hole_that_is_mended() -> None:
    pytest.importorskip("pip_audit")
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-f", "json", "--timeout", "5"]
    result = None
    with suppress(subprocess.TimeoutExpired):
        result = subprocess.run([*command, "-r", str(LOCK)], capture_output=True, text=True, timeout=60)
    if result is None or (NO_ANSWER.search(result.stderr) and not result.stdout.startswith("{")):
        pytest.skip("the registry does not answer")
    assert result.stdout.startswith("{"), result.stderr[-2000:]
    found = [package for package in json.loads(result.stdout)["dependencies"] if package.get("vulns")]
    mended = {p["name"]: [v["id"] for v in p["vulns"] if v["fix_versions"]] for p in found}
    assert not {name: holes for name, holes in mended.items() if holes}
