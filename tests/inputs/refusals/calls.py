"""Every call that takes data, as functions of a network, x and y."""

from __future__ import annotations

import numpy as np

#: Where the contract says "refused" and leaves the choice between the two.
REFUSED = (TypeError, ValueError)

CALLS = {
    "predict": lambda net, x, y: net.predict(x),
    "call": lambda net, x, y: net(x),
    "frozen": lambda net, x, y: net.freeze()(x),
    "cost": lambda net, x, y: net.cost(x, y),
    "gradients": lambda net, x, y: net.gradients(x, y),
    "vjp": lambda net, x, y: net.vjp(x),
    "trace": lambda net, x, y: net.trace(x, y),
    "check_gradients": lambda net, x, y: net.check_gradients(x, y),
    "evaluate": lambda net, x, y: net.evaluate(x, y),
    "train_step": lambda net, x, y: net.train_step(x, y, learning_rate=0.1),
    "fit": lambda net, x, y: net.fit(x, y, learning_rate=0.1),
    "validation_data": lambda net, x, y: net.fit(
        np.zeros((2, 5)), [0, 1], learning_rate=0.1, validation_data=(x, y)
    ),
    "stream": lambda net, x, y: net.fit([(x, y)], learning_rate=0.1),
}

#: Those that take targets.
TRAINING = {
    k: CALLS[k]
    for k in (
        "cost",
        "gradients",
        "trace",
        "train_step",
        "fit",
        "stream",
        "evaluate",
        "check_gradients",
        "validation_data",
    )
}
