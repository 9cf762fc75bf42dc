"""The installed package: its version, its types, how its core was compiled."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources

import pytest

import chainrule as cr
from chainrule import _core
from support import run_python

STUB = importlib.resources.files("chainrule") / "_core.pyi"


def stub_names():
    """(owner, name) of everything that the stub declares."""
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            yield "", node.name
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield node.name, part.name
        elif isinstance(node, ast.FunctionDef):
            yield "", node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield "", node.target.id


def test_types_are_shipped():
    assert (importlib.resources.files("chainrule") / "py.typed").is_file()
    assert STUB.is_file()


@pytest.mark.parametrize(("owner", "name"), list(stub_names()), ids=lambda part: part or "_core")
def test_every_name_of_the_stub_exists(owner, name):
    assert hasattr(getattr(_core, owner) if owner else _core, name)


def test_every_public_name_of_the_core_is_in_the_stub():
    declared = {name for owner, name in stub_names() if not owner}
    present = {name for name in vars(_core) if not name.startswith("_")}
    assert present <= declared


def test_every_exported_name_exists():
    for name in cr.__all__:
        assert getattr(cr, name) is not None
    for name in (
        "Network",
        "Predictor",
        "Gradients",
        "History",
        "SGD",
        "Adam",
        "EarlyStopping",
        "DivergenceError",
        "set_num_threads",
        "get_num_threads",
        "show_config",
        "__version__",
    ):
        assert name in cr.__all__


def test_public_names_have_docstrings():
    missing = [
        name
        for name in cr.__all__
        if not name.startswith("__") and not (getattr(cr, name).__doc__ or "").strip()
    ]
    methods = [
        f"Network.{name}"
        for name in dir(cr.Network)
        if not name.startswith("_") and not (getattr(cr.Network, name).__doc__ or "").strip()
    ]
    assert missing + methods == []


def test_there_is_one_version():
    assert cr.__version__ == _core.__version__ == importlib.metadata.version("chainrule")
    assert cr.__version__ == _core.config()["version"]


def test_the_core_is_compiled_for_exact_arithmetic():
    flags = str(_core.config()["flags"])
    assert "-ffp-contract=off" in flags
    assert "-ffast-math" not in flags
    assert "-Ofast" not in flags
    assert "-march=native" not in flags


@pytest.mark.parametrize(
    "key", ["isa", "isas", "compiler", "flags", "num_threads", "cores", "version"]
)
def test_the_configuration_names(key):
    assert key in _core.config()


def test_info_prints_the_configuration():
    printed = run_python("-m", "chainrule", "info")
    assert cr.__version__ in printed
    assert _core.config()["isa"] in printed
