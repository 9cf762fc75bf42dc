"""``python -m chainrule bench``: chainrule beside every peer that is installed.

Imports between the modules are relative: a worker loads this folder as a package of its own, so
that no process but chainrule's has chainrule in it.
"""
