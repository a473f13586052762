"""Builds the CPU kernels as plain libraries, one per instruction set, and ships csrc as data for the GPU's compiler.

The libraries know nothing of torch or of Python: building them needs a C++17 compiler and nothing else, and one build
serves every version of both. Without a compiler the installation succeeds and the plain-torch reference runs.
"""

import os
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NAME = "diff_gaussian_rasterization"
SOURCES = sorted(str(path) for path in Path("csrc/cpu").glob("*.cpp"))
HEADERS = sorted(str(path) for folder in ("common", "cpu") for path in Path("csrc", folder).glob("*.h"))
# The loader (cpu/loader.py) takes the widest that the machine has, and the baseline for double.
INSTRUCTION_SETS = {
    "baseline": ["-DGS_DOUBLE"],
    "v3": ["-march=x86-64-v3"],
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}
DATA = {f"{NAME}.csrc.{part}": f"csrc/{part}" for part in ("common", "cuda")}


def extensions() -> list[Extension]:
    """One extension per instruction set that this kind of machine may have."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    flags = [
        "-std=c++17",
        "-O2",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-ffp-contract=fast",
        "-Wno-psabi",
    ]
    openmp = [] if platform.system() == "Darwin" else ["-fopenmp"]
    return [
        Extension(
            f"{NAME}._cpu_{name}",
            SOURCES,
            depends=HEADERS,
            extra_compile_args=flags + openmp + march,
            extra_link_args=openmp,
            optional=True,
        )
        for name, march in INSTRUCTION_SETS.items()
        if x86 or name == "baseline"
    ]


class BuildLibraries(build_ext):
    """Extensions as libraries for ctypes: no Python ABI in their names, built side by side."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []

    def build_extension(self, ext: Extension) -> None:
        # Objects of one source for several instruction sets need folders of their own.
        builder = BuildLibraries(self.distribution)
        builder.__dict__.update(self.__dict__)
        builder.build_temp = os.path.join(self.build_temp, ext.name)
        super(BuildLibraries, builder).build_extension(ext)


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and any Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    packages=[NAME, f"{NAME}.cpu", f"{NAME}.cuda", f"{NAME}.reference", *DATA],
    package_dir=DATA,
    package_data={NAME: ["py.typed"], **{package: ["*.h", "*.cuh", "*.cu"] for package in DATA}},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
)
