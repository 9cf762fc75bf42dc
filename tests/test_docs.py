"""The documentation: snippets run and print what their page states; every name is described."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr
from support import run_python

pytestmark = pytest.mark.unsanitized  # the snippets load matplotlib, pandas and scikit-learn

ROOT = Path(__file__).parent.parent
RUN = ROOT / "docs" / "pages.py"
PAGES = [
    page
    for page in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    if "\n```python\n" in page.read_text(encoding="utf-8")
]
REFERENCE = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs_and_prints_what_is_stated(page, tmp_path):
    run_python(str(RUN), str(page), str(tmp_path), MPLBACKEND="agg")


def run(page, *options):
    """Run a page and return the finished process."""
    return subprocess.run(
        [sys.executable, RUN, *options, page, page.parent / "here"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(
        "# A page\n\n```python\nx = 2\n```\n\nProse.\n\n"
        "```python\nprint(x + 1)\n```\n\n```text\n3\n```\n"
    )
    return path


def test_snippets_share_a_namespace_and_are_compared(page):
    done = run(page)
    assert (done.returncode, done.stderr) == (0, "page.md: 2 snippets\n")


def test_another_output_fails_and_is_shown(page):
    page.write_text(page.read_text().replace("\n3\n", "\n4\n"))
    done = run(page)
    assert done.returncode != 0
    assert "line 9" in done.stderr
    assert "-4\n+3" in done.stderr


def test_an_exception_fails_with_the_line_of_the_page(page):
    page.write_text(page.read_text().replace("x + 1", "1 / 0"))
    done = run(page)
    assert done.returncode != 0
    assert 'page.md", line 10' in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_dots_stand_for_anything(page):
    page.write_text(
        page.read_text().replace("x + 1", "'a', x, 'b'").replace("\n3\n", "\na ... b\n")
    )
    assert run(page).returncode == 0


def test_write_fills_in_what_is_printed(page):
    stated = page.read_text()
    page.write_text(stated.replace("\n3\n", "\nsomething\nelse\n"))
    assert run(page, "--write").returncode == 0
    assert page.read_text() == stated


def test_files_go_where_they_are_told(page):
    page.write_text("```python\nopen('file', 'w').close()\n```\n")
    assert run(page).returncode == 0
    assert (page.parent / "here" / "file").exists()


@pytest.mark.parametrize("name", [name for name in cr.__all__ if name != "__version__"])
def test_every_public_name_is_in_the_reference(name):
    assert f":: chainrule.{name}\n" in REFERENCE


@pytest.mark.parametrize("name", [name for name in dir(cr.Network) if not name.startswith("_")])
def test_everything_of_a_network_is_in_the_reference(name):
    attributes = inspect.getdoc(cr.Network).partition("Attributes\n")[2].partition("Raises\n")[0]
    described = re.findall(r"\w+", " ".join(re.findall(r"^([\w, ]+)(?: :|$)", attributes, re.M)))
    listed = re.search(rf":: chainrule\.Network\.{name}\b", REFERENCE)
    assert listed or name in described
