"""One row per concept in the tables that adapters read: none is missing, and none is too many."""

from __future__ import annotations

import inspect
import re

import pytest

import chainrule as cr
from chainrule import _core, optimizers
from chainrule.activations import ACTIVATIONS
from chainrule.explain.formulas import LOSSES
from layout import ROOT


def test_every_activation_has_its_row():
    assert set(ACTIVATIONS) == set(_core.ACTIVATIONS)


@pytest.mark.parametrize("name", _core.ACTIVATIONS)
def test_a_row_of_an_activation_is_whole(name):
    row = ACTIVATIONS[name]
    assert row.formula and row.slope and row.steepest > 0 and row.torch.name
    assert row.initializer in _core.INITIALIZERS
    assert bool(row.onnx) == (name != "identity")


@pytest.mark.parametrize("name", _core.ACTIVATIONS)
def test_the_page_of_a_trace_computes_every_activation(name):
    text = (ROOT / "python/chainrule/explain/page/arithmetic.js").read_text(encoding="utf-8")
    assert re.search(rf"^    {name}: \[", text, re.MULTILINE)


@pytest.mark.parametrize("name", _core.ACTIVATIONS)
def test_docstrings_name_every_activation(name):
    assert name in inspect.getdoc(cr.Network)


def test_every_loss_has_its_row():
    assert set(LOSSES) == set(_core.LOSSES)


@pytest.mark.parametrize("name", _core.LOSSES)
def test_docstrings_name_every_loss(name):
    assert name in inspect.getdoc(cr.Network)


def test_every_rule_has_its_optimizer():
    """The core tells its rules in the refusal of one that it does not know."""
    with pytest.raises(ValueError, match="expected one of (.*)") as refusal:
        _core.OptimizerState(cr.Network([1, 1], seed=0), "none", {})
    rules = re.search("expected one of (.*)", str(refusal.value))[1].split(", ")
    found = {
        cls._rule
        for cls in vars(optimizers).values()
        if inspect.isclass(cls) and issubclass(cls, optimizers.Optimizer) and hasattr(cls, "_rule")
    }
    assert found == set(rules)
