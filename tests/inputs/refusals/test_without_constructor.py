"""Objects whose __init__ never ran raise and never crash: each use in one interpreter, in a row."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: use: the exception it raises, or None for any of TypeError, AttributeError and the like
USES = {
    "net.predict(x)": "TypeError",
    "net.predict(x, out=out)": "TypeError",
    "net(x)": "TypeError",
    "net.cost(x, x)": None,
    "net.gradients(x, x)": None,
    "net.vjp(x)": None,
    "net.trace(x, x)": None,
    "net.check_gradients(x, x)": None,
    "net.evaluate(x, x)": None,
    "net.train_step(x, x, learning_rate=0.1)": None,
    "net.fit(x, x, learning_rate=0.1)": None,
    "net.get_parameters()": None,
    "net.set_parameters(x[0])": None,
    "net.freeze()": None,
    "net.summary()": None,
    "net.weights": None,
    "net.biases": None,
    "net.sizes": None,
    "net.activations": None,
    "net.loss": None,
    "net.dtype": None,
    "net.n_parameters": None,
    "copy.copy(net)": None,
    "pickle.dumps(net)": None,
    "repr(net)": None,
    "cr.Predictor(net)": None,
    "serve.predict(x)": "TypeError",
    "serve(x)": "TypeError",
    "serve.sizes": None,
    "repr(serve)": None,
    "pickle.dumps(serve)": None,
}

SCRIPT = """
import copy, json, pickle, sys
import numpy as np
import chainrule as cr

x, out = np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32)
for use in json.loads(sys.argv[1]):
    net, serve = cr.Network.__new__(cr.Network), cr.Predictor.__new__(cr.Predictor)
    raised = None
    try:
        eval(use)
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raised = type(error).__name__
    print(json.dumps([use, raised]), flush=True)
"""


@pytest.fixture(scope="module")
def raised():
    """{use: the name of the exception, or None}; a use that crashes ends it."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT, json.dumps(list(USES))],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    found = dict(map(json.loads, done.stdout.splitlines()))
    assert len(found) == len(USES), f"exit {done.returncode} after {[*found][-1:]}\n{done.stderr}"
    return found


@pytest.mark.parametrize("use", USES)
def test_an_object_without_constructor_raises(raised, use):
    assert raised[use], "nothing was raised"
    assert raised[use] == (USES[use] or raised[use])
