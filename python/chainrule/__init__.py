"""Multilayer perceptrons on the CPU, trained and served from NumPy by a C++ core.

>>> import chainrule as cr
>>> net = cr.Network([784, 128, 10], activations=["tanh", "softmax"], loss="cross_entropy")
>>> history = net.fit(X, Y, epochs=10, optimizer=cr.Adam(1e-3))  # doctest: +SKIP
>>> P = net.predict(X)  # doctest: +SKIP
"""

from chainrule import metrics
from chainrule._core import __version__, get_num_threads, set_num_threads
from chainrule.config import show_config
from chainrule.gradients import Gradients
from chainrule.network import Network
from chainrule.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from chainrule.predictor import Predictor
from chainrule.training.checkpoint import Checkpoint
from chainrule.training.divergence import DivergenceError
from chainrule.training.early_stopping import EarlyStopping
from chainrule.training.history import History

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
