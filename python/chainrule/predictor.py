"""An immutable copy of a network, for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule import _core

if TYPE_CHECKING:
    from typing_extensions import Self


class Predictor(_core.Predictor):
    """An immutable copy of a network that gives the same bits; ``Network.freeze`` makes one.

    It has no state that a call changes, and no attributes to set: threads may share it, and the
    network it came from may go on training. ``predictor(x, out=None)`` and ``predictor.predict``
    are what they are on ``Network``. It can be pickled, and is its own copy.

    Making one answers a sample of zeros, so that the first call of the same thread finds
    everything in memory.

    Parameters
    ----------
    network : Network
        The network to copy.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        shape = (self.sizes, self.activations, self.dtype.name, self.has_bias)
        return _restore, (type(self), *shape, self.get_parameters())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({list(self.sizes)}, activations={list(self.activations)}, "
            f"dtype='{self.dtype.name}')"
        )


def _restore(
    cls: type[Predictor],
    sizes: tuple[int, ...],
    activations: tuple[str, ...],
    dtype: str,
    bias: bool,
    parameters: Any,
) -> Predictor:
    # A predictor has no loss; this one fits every output layer.
    network = _core.Network(sizes, activations, "half_mse", dtype, bias)
    network.set_parameters(parameters)
    return cls(network)
