"""Multilayer perceptrons on the CPU, trained and served from NumPy by a C++ core.

>>> import chainrule as cr
>>> net = cr.Network([784, 128, 10], activations=["tanh", "softmax"], loss="cross_entropy")
>>> history = net.fit(X, Y, epochs=10, optimizer=cr.Adam(1e-3))  # doctest: +SKIP
>>> P = net.predict(X)  # doctest: +SKIP
"""

from chainrule import metrics
from chainrule._core import __version__, get_num_threads, set_num_threads
from chainrule.checkpoint import Checkpoint
from chainrule.config import show_config
from chainrule.early_stopping import EarlyStopping
from chainrule.errors import DivergenceError
from chainrule.gradients import Gradients
from chainrule.history import History
from chainrule.network import Network
from chainrule.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from chainrule.predictor import Predictor

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "DivergenceError",
    "EarlyStopping",
    "Gradients",
    "History",
    "Network",
    "Predictor",
    "RMSprop",
    "__version__",
    "get_num_threads",
    "metrics",
    "set_num_threads",
    "show_config",
]
