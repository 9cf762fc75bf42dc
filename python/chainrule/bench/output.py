"""The files that a run leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from . import packages


def write(folder: Path, name: str, parts: Sequence[str], found: Mapping[str, Any]) -> None:
    """Write the text of a run and, as NAME.json, all that was found."""
    text = "report.txt" if name == "bench" else f"{name}.txt"
    (folder / text).write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


def plots() -> Any:
    """Return the module that draws; None, and a word about it, where matplotlib is missing."""
    try:
        packages.require("matplotlib", what="a picture")
    except ValueError as error:
        print(f"no plots: {error}", file=sys.stderr)
        return None
    return import_module(".plots", __package__)
