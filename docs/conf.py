"""Sphinx: ``sphinx-build -W docs build/docs``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import chainrule

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "chainrule"
copyright = "the chainrule authors"  # noqa: A001
version = release = chainrule.__version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
html_math_renderer = "mathml"
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
default_role = "code"
autodoc_typehints = "none"  # the docstrings say more: shapes and ranges
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
nitpicky = True
# Types of parameters are prose: "array_like of shape (n, n_0)"; attributes stand in their class.
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", ".*")]

html_theme = "furo"
html_title = f"chainrule {release}"
html_static_path = ["static"]
html_css_files = ["chainrule.css"]
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"


def make_pictures(app: Sphinx) -> None:
    """Run the snippets of the pages that show pictures, which the snippets save."""
    for page in sorted(HERE.rglob("*.md")):
        if "pictures/" in page.read_text(encoding="utf-8"):
            subprocess.run(
                [sys.executable, HERE / "pages.py", page, HERE / "pictures"],
                env={**os.environ, "MPLBACKEND": "agg"},
                check=True,
            )


def copy_pages(app: Sphinx, error: Exception | None) -> None:
    """Copy the pages that snippets save; Sphinx copies images alone."""
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "pictures"
        target.mkdir(exist_ok=True)
        for page in (HERE / "pictures").glob("*.html"):
            shutil.copy(page, target)


def plain_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, result: str
) -> tuple[str, str] | None:
    """Leave out what pybind11 adds to the signatures of the core: self, and the type object."""
    if signature and "chainrule._core." in signature:
        signature = re.sub(r"self: chainrule\._core\.\w+(, )?", "", signature)
        return re.sub(r": [\w.]+(?= = |,|\))", "", signature).replace(" = ", "="), ""
    return None


def plain_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let |x| be an absolute value; reStructuredText would put a substitution there."""
    lines[:] = [line if "`" in line else line.replace("|", "\\|") for line in lines]


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("builder-inited", make_pictures)
    app.connect("build-finished", copy_pages)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-process-docstring", plain_bars)
