"""Calculations as lines: a symbol, a sign and a formula or number; as text, and as HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What follows _ and ^ in print, after a symbol of one letter: w_jk, a^2, but not cross_entropy.
SCRIPT = re.compile(r"(?<![A-Za-z]{2})([_^])([A-Za-z0-9]+(?:,[0-9]+)?)")

# In the colours of the surrounding page, whichever they are, so that dark ones work too.
STYLE = """<style>
.chainrule { font: 14px/1.5 system-ui, sans-serif; overflow-x: auto; }
.chainrule table { border-collapse: collapse; margin: 0 0 .8em; }
.chainrule td, .chainrule th { padding: .15em .6em; text-align: left; vertical-align: middle;
  background: none; border: 0; white-space: nowrap; font-weight: normal; }
.chainrule th { font-weight: 600; padding-top: .8em; }
.chainrule tr.result td { border-top: 1px solid rgba(128, 128, 128, .6); font-weight: 600; }
.chainrule table.values { margin: .2em 0; }
.chainrule table.values td { text-align: right; padding: .05em .4em;
  font-variant-numeric: tabular-nums; }
.chainrule sub, .chainrule sup { font-size: .72em; line-height: 0; }
</style>"""


@dataclass(frozen=True)
class Line:
    """One line of a calculation: a symbol, a sign and what it equals; or a remark."""

    left: str = ""
    sign: str = ""
    right: str = ""
    result: bool = False


def as_text(lines: Iterable[Line]) -> str:
    """Align the signs and what follows them."""
    return "\n".join(
        f"  {line.left:<12}{line.sign:<1}  {line.right}" if line.right else line.left
        for line in lines
    )


def as_html(lines: Iterable[Line]) -> str:
    """Return a table with a column each for symbols, signs and formulas."""
    return f'{STYLE}<div class="chainrule"><table>{"".join(map(_row, lines))}</table></div>'


def _row(line: Line) -> str:
    if not line.right:
        return _remark(line.left) if line.left else ""
    kind = ' class="result"' if line.result else ""
    cells = (line.left, line.sign, line.right)
    return f"<tr{kind}>{''.join(f'<td>{mathematics(cell)}</td>' for cell in cells)}</tr>"


def _remark(text: str) -> str:
    tag = "td" if text.startswith(" ") else "th"  # what is not indented is a heading
    return f'<tr><{tag} colspan="3">{mathematics(text)}</{tag}></tr>'


def mathematics(text: str) -> str:
    """Escape `text`, and set what follows ``_`` and ``^`` below and above the line."""

    def place(match: re.Match[str]) -> str:
        tag = "sub" if match[1] == "_" else "sup"
        return f"<{tag}>{match[2]}</{tag}>"

    return SCRIPT.sub(place, escape(text.strip(), quote=False))
