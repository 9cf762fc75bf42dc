"""Optimisers: rules of descent that turn gradients into updates of the parameters."""

from chainrule.optimizers.base import Optimizer, rate_at
from chainrule.optimizers.rules import SGD, Adagrad, Adam, AdamW, RMSprop, choose
from chainrule.schedules import LearningRate

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "LearningRate",
    "Optimizer",
    "RMSprop",
    "choose",
    "rate_at",
]
