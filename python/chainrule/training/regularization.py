"""What keeps a network from fitting its training data too closely: dropout, label smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import NamedTuple, TypeAlias

from chainrule import _core

Rates: TypeAlias = "float | Sequence[float]"
Dropout: TypeAlias = "tuple[Sequence[float], int, int, int]"


class Regularization(NamedTuple):
    """What the steps of one call of ``fit`` have in common."""

    label_smoothing: float
    rates: tuple[float, ...]  # of dropout, one a hidden layer; empty: no dropout

    @classmethod
    def checked(
        cls, network: _core.Network, label_smoothing: float, dropout: Rates
    ) -> Regularization:
        """Return both for `network`; ValueError or TypeError where one does not fit."""
        _core.check_label_smoothing(network, label_smoothing)
        return cls(label_smoothing, dropout_rates(network, dropout))

    def arguments(self, network: _core.Network, first_sample: int) -> tuple[float, Dropout | None]:
        """Return what the core's steps take last; so many samples of the epoch came before."""
        if not self.rates:
            return self.label_smoothing, None
        return self.label_smoothing, (self.rates, network.seed, network.epoch, first_sample)


def dropout_rates(network: _core.Network, dropout: Rates) -> tuple[float, ...]:
    """Return one rate a hidden layer, or nothing where all are 0."""
    hidden = len(network.sizes) - 2
    given: tuple[object, ...]
    if isinstance(dropout, Real):
        given = (dropout,) * max(hidden, 1)
    elif isinstance(dropout, Iterable) and not isinstance(dropout, str):
        given = tuple(dropout)
        if len(given) != hidden:
            raise ValueError(
                f"dropout must be one rate, or one a hidden layer: got {len(given)} rates for "
                f"{hidden} hidden layers"
            )
    else:
        raise TypeError(f"dropout must be a rate, or one a hidden layer, got {dropout!r}")
    rates = tuple(map(_rate, given))
    if not any(rates):
        return ()
    if not hidden:
        raise ValueError("dropout acts on hidden layers, and this network has none")
    return rates


def _rate(value: object) -> float:
    if not isinstance(value, Real):
        raise TypeError(f"a rate of dropout must be a number in [0, 1), got {value!r}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"a rate of dropout must lie in [0, 1), got {value}")
    return float(value)
