"""The structure of the package, read from its sources: imports, circles, private names, lengths.

Run it to print what ``test_layout.py`` bounds: ``python tests/layout.py [FOLDER]``, where FOLDER is
a checkout, this one by default.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "chainrule"

Graph = dict[str, set[str]]


class Use(NamedTuple):
    """A private name of another module, and where it is used."""

    place: str
    name: str


def modules(package: Path) -> dict[str, Path]:
    """Return the file of every module below a package's folder, by dotted name."""
    found = {}
    for path in sorted([*package.rglob("*.py"), *package.glob("_core.pyi")]):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(sources: Mapping[str, Path]) -> Graph:
    """Return which modules each module names in an import, wherever that statement stands.

    Imports inside functions and under TYPE_CHECKING count. ``from a import b`` imports ``a.b``
    where that is a module, else ``a``. What a package's ``__init__`` re-exports counts as imported
    from the ``__init__``.
    """
    graph: Graph = {}
    for name, path in sources.items():
        is_package = path.name == "__init__.py"
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, name, is_package)
                found.update(
                    f"{base}.{alias.name}" if f"{base}.{alias.name}" in sources else base
                    for alias in node.names
                )
        graph[name] = {module for module in found if module in sources and module != name}
    return graph


def _absolute(node: ast.ImportFrom, importer: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def rooms(graph: Graph) -> Graph:
    """Return which rooms import from which: the folders and files right below the package."""
    result: Graph = defaultdict(set)
    for name, others in graph.items():
        result[room(name)] |= {room(other) for other in others} - {room(name)}
    return dict(result)


def room(module: str) -> str:
    """Return the part of a module's name that names its room; the roof's is the package's."""
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of nodes that reach each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            circle = []
            while not circle or circle[-1] != node:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def private_uses(sources: Mapping[str, Path]) -> list[Use]:
    """Return where a module uses a private name that it does not define itself.

    Names of attributes (``x._name``, with any x but self and cls) and of imports count; so do
    strings, for instance in ``getattr(x, "_name")``.
    """
    found = []
    for module, path in sources.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = set(_defined(tree))
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Attribute) and not _is_self(node.value):
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names if alias.name != "_core"]
            elif isinstance(node, ast.Call) and _name(node.func) in ("getattr", "setattr"):
                names = [a.value for a in node.args[1:2] if isinstance(a, ast.Constant)]
            for name in names:
                if _is_private(name) and name not in own:
                    found.append(Use(f"{module}:{node.lineno}", name))
    return found


def _is_private(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.startswith("_")
        and not name.startswith("__")
        and name not in ("_core", "_replace", "_fields", "_asdict", "_repr_html_")
    )


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _defined(tree: ast.AST) -> Iterator[str]:
    """Yield what a module defines: functions, classes, variables, attributes of self."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if _is_self(node.value):
                yield node.attr


def lines_of_code(path: Path) -> int:
    """Return the lines of a file without docstrings, comments and blank lines counted in."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".py", ".pyi"):
        return text.count("\n")
    return text.count("\n") - sum(len(r) for r in _docstrings(ast.parse(text)).values())


def longest_functions(paths: Iterable[Path]) -> list[tuple[int, str]]:
    """Return every Python function's lines without its docstring, the longest first."""
    found = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = _docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1 - len(skipped.get(node, ()))
                found.append((length, f"{path.name}:{node.lineno} {node.name}"))
    return sorted(found, reverse=True)


def _docstrings(tree: ast.AST) -> dict[ast.AST, range]:
    """Return the lines of every docstring."""
    found = {}
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            assert first.end_lineno is not None
            found[node] = range(first.lineno, first.end_lineno + 1)
    return found


def main(folder: Path) -> None:
    """Print the structure of the checkout in `folder`."""
    sources = modules(folder / "python" / PACKAGE)
    graph = imports(sources)
    for what, found in (("files", circles(graph)), ("rooms", circles(rooms(graph)))):
        largest = max(map(len, found), default=0)
        print(f"circles of {what}: {len(found)}, the largest of {largest}")
        for circle in found:
            print("   ", " ".join(circle))
    uses = private_uses(sources)
    print(f"private names of other modules: {len(uses)} uses")
    for use in uses:
        print("   ", use.place, use.name)
    for kind, pattern in (("Python", "python/**/*.py"), ("tests", "tests/**/*.py")):
        paths = sorted(folder.glob(pattern))
        length, path = max((lines_of_code(path), path) for path in paths)
        print(f"longest of {kind}: {path.relative_to(folder)}, {length} lines; ", end="")
        length, name = longest_functions(paths)[0]
        print(f"function {name}, {length} lines")
    paths = [p for p in (folder / "cpp").rglob("*") if p.suffix in (".h", ".cpp")]
    length, path = max((lines_of_code(path), path) for path in paths)
    print(f"longest of C++: {path.relative_to(folder)}, {length} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
