"""What this installation runs on."""

from __future__ import annotations

from chainrule import _core


def show_config() -> None:
    """Print how the core was built and what it chose for this machine."""
    config = _core.config()
    width = max(map(len, config))
    for name, value in config.items():
        listed = isinstance(value, (list, tuple))
        print(f"{name:<{width}}  {' '.join(map(str, value)) if listed else value}")
