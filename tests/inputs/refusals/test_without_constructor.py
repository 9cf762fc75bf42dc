"""Objects whose __init__ never ran raise and never crash: each use in its own interpreter."""

from __future__ import annotations

import pytest

from support import run_python

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
import copy, pickle, sys
import numpy as np
import chainrule as cr

x, out = np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32)
net, serve = cr.Network.__new__(cr.Network), cr.Predictor.__new__(cr.Predictor)
try:
    eval(sys.argv[1])
except (TypeError, AttributeError, ValueError, RuntimeError) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("use", USES)
def test_an_object_without_constructor_raises(use):
    raised = run_python("-c", SCRIPT, use).strip()
    assert raised, "nothing was raised"
    assert raised == (USES[use] or raised)
