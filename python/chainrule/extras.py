"""Packages that only some features need; see the extras in pyproject.toml."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def require(module: str, extra: str) -> Any:
    """Import `module`; if it is missing, say which pip command brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"this needs {module.split('.')[0]}, which is not installed: "
            f'pip install "chainrule[{extra}]"'
        ) from error
