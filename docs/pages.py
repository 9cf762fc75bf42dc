"""Run the Python of a page: ``python docs/pages.py [--write] PAGE [FOLDER]``.

The ``python`` blocks of a Markdown file run in order, in one namespace and in FOLDER (a temporary
one by default), where pictures are saved. What a block prints must be what the ``text`` block right
below it states; ``...`` stands for anything. With ``--write`` the ``text`` blocks are filled in.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import doctest
import io
import os
import re
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent

#: Every page whose snippets run: the documentation's and the README.
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md"]

# A block of Python, and the block of text that states its output if it follows at once.
SNIPPET = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)


def run(page: Path, *, write: bool = False) -> int:
    """Run the snippets of `page` in the current folder, and return how many there are.

    Raises AssertionError where a block prints something else than the page states.
    """
    text = page.read_text(encoding="utf-8")
    namespace = {"__name__": "__main__"}
    snippets, parts, end = list(SNIPPET.finditer(text)), [], 0
    for match in snippets:
        line = text.count("\n", 0, match.start("code"))
        printed = _execute(match["code"], f"{page}", line, namespace)
        if match["output"] is not None:
            if not write:
                _compare(match["output"], printed, f"{page}, line {line}")
            elif "..." not in match["output"]:
                parts += [text[end : match.start("output")], printed]
                end = match.end("output")
    if parts:
        page.write_text("".join([*parts, text[end:]]), encoding="utf-8")
    return len(snippets)


def _execute(code: str, name: str, line: int, namespace: dict[str, object]) -> str:
    """Run `code`, which stands below `line` of the file `name`; return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * line + code, name, "exec"), namespace)  # noqa: S102
    return re.sub(r" +$", "", printed.getvalue(), flags=re.MULTILINE)


def _compare(stated: str, printed: str, place: str) -> None:
    if not doctest.OutputChecker().check_output(stated, printed, doctest.ELLIPSIS):
        lines = difflib.unified_diff(
            stated.splitlines(), printed.splitlines(), "stated", "printed", lineterm=""
        )
        raise AssertionError("\n".join([place, *lines]))


def main() -> None:
    """Run one page, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help="where the snippets run")
    parser.add_argument("--write", action="store_true", help="fill in what the snippets print")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("MPLBACKEND", "agg")
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        print(f"{page.name}: {run(page, write=arguments.write)} snippets", file=sys.stderr)
        os.chdir(DOCS)


if __name__ == "__main__":
    main()
