"""Hygiene of the compiled objects: code for one CPU can never stand in for another's.

A weak inline function compiled for AVX-512 may replace the baseline copy when the linker chooses,
and end the process on an older CPU. Looks at the objects of the newest build tree.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support import TESTS

ROOT = TESTS.parent
KERNELS = "CMakeFiles/chainrule_kernels.dir/cpp/kernels"

#: What each ISA's code must hold, and what it must not.
REGISTERS = {
    "scalar": (r"mulss", r"%[yz]mm|%xmm(1[6-9]|[23]\d)|%k[0-7]|\sv[a-z]+\s"),
    "x86_avx2": (r"vfmadd.*%ymm", r"%zmm|%xmm(1[6-9]|[23]\d)|%k[0-7]"),
    "x86_avx512": (r"vfmadd.*%zmm", r"%mm[0-7]"),
    "arm_neon": (r"fmla\s+v\d+\.4s", r"\sz\d+\.[sd]"),
}
ISAS = {"x86_64": ["x86_avx2", "x86_avx512"], "aarch64": ["arm_neon"]}.get(platform.machine(), [])

#: What a kernel may call: the C library's memory functions, and the scalar fma and square root.
ALLOWED = {"memcpy", "memset", "memmove", "fma", "fmaf", "sqrt", "sqrtf", "_GLOBAL_OFFSET_TABLE_"}


@pytest.fixture(scope="module")
def tree():
    """The newest build tree of this checkout, as `pip install` leaves it in build/."""
    for tool in ("nm", "objdump"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (binutils)")
    trees = [
        folder
        for folder in (ROOT / "build").glob("*")
        if (folder / KERNELS / "scalar.cpp.o").exists()
    ]
    if not trees:
        pytest.skip("build/ holds no objects: pip install from this checkout leaves them there")
    return max(trees, key=lambda folder: (folder / KERNELS / "scalar.cpp.o").stat().st_mtime)


def symbols(path: Path) -> dict[str, set[str]]:
    """The names in an object by nm's letter."""
    found: dict[str, set[str]] = {}
    printed = subprocess.run(["nm", "-P", path], capture_output=True, check=True, text=True).stdout
    for line in printed.splitlines():
        name, letter = line.split()[:2]
        found.setdefault(letter, set()).add(name)
    return found


def code(path: Path) -> str:
    command = ["objdump", "-d", "--no-show-raw-insn", path]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("isa", ["scalar", *ISAS])
def test_an_isa_object_exports_its_table_and_nothing_weak(tree, isa):
    found = symbols(tree / KERNELS / f"{isa}.cpp.o")
    for weak in "WwVvu":
        assert not found.get(weak), f"weak: {found[weak]}"
    exported = {name for letter in "TDRBG" for name in found.get(letter, ())}
    name = isa.removeprefix("x86_").removeprefix("arm_")
    assert [each for each in exported if f"{name}_table" in each] == list(exported)
    assert len(exported) == 1


@pytest.mark.parametrize("isa", ["scalar", *ISAS])
def test_an_isa_object_calls_no_more_than_it_may(tree, isa):
    assert symbols(tree / KERNELS / f"{isa}.cpp.o").get("U", set()) <= ALLOWED


@pytest.mark.parametrize("isa", ["scalar", *ISAS])
def test_an_isa_object_holds_its_own_instructions(tree, isa):
    if isa == "scalar" and platform.machine() != "x86_64":
        pytest.skip("vectors are part of the baseline of this processor")
    wanted, forbidden = REGISTERS[isa]
    text = code(tree / KERNELS / f"{isa}.cpp.o")
    assert re.search(wanted, text)
    assert re.findall(forbidden, text)[:5] == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about the wide registers of x86-64")
def test_no_other_object_holds_wide_registers(tree):
    isa_objects = {tree / KERNELS / f"{isa}.cpp.o" for isa in ISAS}
    others = [path for path in tree.rglob("*.cpp.o") if path not in isa_objects]
    assert len(others) > 15
    wide = REGISTERS["scalar"][1]
    assert [path.name for path in others if re.search(wide, code(path))] == []
