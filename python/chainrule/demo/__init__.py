"""``python -m chainrule demo``: handwritten digits, with the same network in plain NumPy beside."""

from chainrule.demo.digits import run

__all__ = ["run"]
