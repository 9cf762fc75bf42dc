"""The structure of the package: no circles, no private names of others, nothing too long."""

from __future__ import annotations

import textwrap

import pytest

import layout

# Private names that a module uses of another one, each with the reason why it stays.
ALLOWED = {
    ("chainrule.torch", "_forward_hooks"): "PyTorch has no public way to see hooks",
    ("chainrule.torch", "_forward_pre_hooks"): "PyTorch has no public way to see hooks",
    ("chainrule.torch", "_global_forward_hooks"): "PyTorch has no public way to see hooks",
    ("chainrule.torch", "_global_forward_pre_hooks"): "PyTorch has no public way to see hooks",
    ("chainrule.torch", "_modules"): "named_children() leaves out modules that occur twice",
    ("chainrule.warning", "_getframe"): "CPython's documented way to the caller's frame",
}


@pytest.fixture(scope="module")
def sources():
    return layout.modules(layout.ROOT / "python" / layout.PACKAGE)


@pytest.fixture(scope="module")
def graph(sources):
    return layout.imports(sources)


def test_files_import_each_other_in_no_circle(graph):
    assert layout.circles(graph) == []


def test_rooms_import_each_other_in_no_circle(graph):
    assert layout.circles(layout.rooms(graph)) == []


def test_private_names_stay_in_their_modules(sources):
    uses = layout.private_uses(sources)
    found = {(use.place.partition(":")[0], use.name) for use in uses}
    assert found == set(ALLOWED)
    assert len(uses) <= 12


@pytest.mark.parametrize(
    ("pattern", "most"),
    [("python/**/*.py", 450), ("cpp/**/*.h", 450), ("cpp/**/*.cpp", 450), ("tests/**/*.py", 600)],
)
def test_files_fit_into_the_head(pattern, most):
    lengths = {path: layout.lines_of_code(path) for path in layout.ROOT.glob(pattern)}
    assert {path.name: n for path, n in lengths.items() if n > most} == {}


# scikit-learn wants every parameter of an estimator named and assigned in its constructor.
LONG = ("classifier.py", "regressor.py")


@pytest.mark.parametrize("folder", ["python", "tests"])
def test_functions_fit_on_a_page(folder):
    lengths = layout.longest_functions((layout.ROOT / folder).rglob("*.py"))
    long = [name for n, name in lengths if n > 60]
    assert [name for name in long if not (name.startswith(LONG) and "__init__" in name)] == []


def planted(tmp_path, **files):
    package = tmp_path / "package"
    for name, text in {"__init__": "", **files}.items():
        path = package.joinpath(*name.split("__IN__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return layout.modules(package)


@pytest.mark.parametrize(
    "back",
    [
        "from package import a",
        "import package.a",
        "from . import a",
        "def f():\n    from package.a import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.a import X",
    ],
)
def test_a_planted_circle_is_found(tmp_path, back):
    graph = layout.imports(planted(tmp_path, a="from package.b import y\n", b=back))
    assert ["package.a", "package.b"] in [
        [name for name in circle if name != "package"] for circle in layout.circles(graph)
    ]


def test_a_planted_circle_of_rooms_is_found(tmp_path):
    graph = layout.imports(
        planted(
            tmp_path,
            one__IN__a="from package.two.b import y",
            one__IN__c="",
            two__IN__b="",
            two__IN__d="from package.one.c import z",
        )
    )
    assert layout.circles(graph) == []
    assert layout.circles(layout.rooms(graph)) == [["package.one", "package.two"]]


@pytest.mark.parametrize(
    "use", ["from package.a import _x", "def f(y):\n    return y._x", "getattr(print, '_x')"]
)
def test_a_planted_private_use_is_found(tmp_path, use):
    sources = planted(tmp_path, a="_x = 1", b=use)
    assert [use.name for use in layout.private_uses(sources)] == ["_x"]


def test_private_names_of_its_own_are_a_modules_business(tmp_path):
    sources = planted(tmp_path, a="class A:\n    def _f(self): ...\n\ndef g(a):\n    a._f()")
    assert layout.private_uses(sources) == []


def test_docstrings_do_not_count(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        '"""One.\n\nTwo.\n"""\n\ndef f():\n    """Three.\n\n    Four.\n    """\n    return 1\n'
    )
    assert layout.lines_of_code(path) == 3
    assert layout.longest_functions([path]) == [(2, "a.py:6 f")]
