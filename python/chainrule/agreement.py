"""An imported network against the model that it came from: both are run, and compared.

Rules about the structure of a model see what they look for. Running it sees the rest: a method
that somebody replaced, an argument that no rule reads, a defect of the importer. Every importer
therefore ends with ``verify``, and returns no network that answers otherwise than its model.

What an importer takes a tensor of the model for is a ``Stack``. ``verify`` evaluates the stacks in
float64, and the model in float64 where it can be widened; in exact arithmetic both are the same
function, so that any difference above a few thousand roundings is an error of the import. A model
that answers in float32 alone is compared with the stacks too, but only up to the rounding that the
stacks themselves suffer in float32. The network is last compared with its own stack.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from chainrule.stack import Layer, Stack

    Array = NDArray[Any]
    Run = Callable[[Array], Mapping[str, Array]]

logger = logging.getLogger("chainrule")

# Rows of one number each, and as many drawn ones: of a standard normal distribution behind the
# scaling that the model begins with, as data are that the scaling was fitted to.
CONSTANTS = (0.0, 1.0, -1.0, 1000.0, -1000.0)
DRAWN = 64
# Fewer drawn rows, but FEWEST at least, for a network in which they would take more multiply-adds
# or more numbers than these: about a second and 128 MB.
FEWEST, MULTIPLY_ADDS, NUMBERS = 8, 2**33, 2**24

# Differences that are always allowed, relative to the largest number of the row, 1 at least.
RELATIVE = {"float64": 1e-10, "float32": 1e-5}
# In float64 rounding is proportional to the largest number on the way to the result.
ROUNDING = 1e-12
# In float32 so many times the rounding that is measured, up to what no user takes for rounding.
OWN_ROUNDINGS, COARSE = 8.0, 1e-3


@dataclass(frozen=True)
class Original:
    """A model that was imported, and how to run it.

    Attributes
    ----------
    source : str
        What messages call it: "the model", "MLPClassifier".
    runs : dict
        By the name of the type in which it computes, "float64", "float32" or both: a function of
        rows of that type, shape (n, n_0), that returns the model's tensors by name, each of
        shape (n, width) up to axes of length 1. It must not change the model. Where it raises,
        the other type is tried.
    mend : str
        What to do about a difference, as an imperative sentence without a full stop.
    """

    source: str
    runs: Mapping[str, Run]
    mend: str


def verify(
    network: Network, stack: Stack, tensors: Mapping[str, Stack], original: Original
) -> None:
    """Raise ValueError unless the network answers as its model does.

    Parameters
    ----------
    network : Network
        What is to be returned to the user.
    stack : Stack
        What the network was made from, with an activation that was appended, if any.
    tensors : dict of str to Stack
        What the model's tensors are taken for, by name, in the order in which they are computed.
        The last one is the model's output, without an activation that was appended. Those that
        the runs do not give are not compared, and neither are those with steps of a pattern
        that is not complete, which no network has.
    original : Original
        The model.

    Warns
    -----
    UserWarning
        If the model cannot be run, or gives no finite number: the network is then not verified.
    """
    coarse = network.dtype == np.float32 or "float32" in original.runs
    rows = _rows(network, tensors, coarse)
    *_, output = tensors
    with np.errstate(all="ignore"), _numpy_random_state():
        dtype, found = _run(original, rows, "float64", "float32")
        if dtype and output not in found:
            dtype, found = "", f"it gave no {output}"
        if not isinstance(found, str):
            comparison = _Comparison(rows, dtype, original)
            for name, taken in tensors.items():
                if name in found and _is_complete(taken):
                    comparison.tensor(name, taken, np.asarray(found[name]))
            comparison.network(network, stack)
            if network.dtype == np.float32:
                comparison.coarseness(network, stack, output, tensors[output])
            if comparison.alive[len(CONSTANTS) :].any():
                logger.info(
                    "%s: verified in %s on %d rows, largest difference %.2g",
                    original.source, dtype, len(rows), comparison.largest,
                )  # fmt: skip
                return
            found = "it gives no finite numbers"
    warnings.warn(
        f"{original.source} could not be run beside the network ({found}): the import is not "
        "verified. Compare the outputs on data of your own",
        UserWarning,
        stacklevel=3,
    )


def _run(original: Original, rows: Array, *dtypes: str) -> tuple[str, Mapping[str, Array] | str]:
    """Return the first type in which the model runs and its tensors, or "" and why there is none.

    The model may be anybody's code, which may raise anything.
    """
    reason = "there is no way to run it"
    for dtype in dtypes:
        try:
            if dtype in original.runs:
                return dtype, original.runs[dtype](rows.astype(dtype))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
    return "", reason


@contextmanager
def _numpy_random_state() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)


def _rows(network: Network, tensors: Mapping[str, Stack], coarse: bool) -> NDArray[np.float64]:
    """Return the rows to compare; `coarse` ones are numbers of float32, so that both can have them.

    The scaling in front is that of the last tensor that no layer of weights has come before.
    """
    width, most = network.sizes[0], min(
        MULTIPLY_ADDS // max(1, network.n_parameters), NUMBERS // sum(network.sizes)
    )  # fmt: skip
    shape = (min(DRAWN, max(FEWEST, most)), width)
    drawn = np.random.Generator(np.random.PCG64(0)).standard_normal(shape)
    scale, shift = np.ones(width), np.zeros(width)
    for stack in tensors.values():
        if not stack.layers and stack.matrix is None:
            scale = np.ones(width) if stack.scale is None else stack.scale
            shift = np.zeros(width) if stack.shift is None else stack.shift
    with np.errstate(all="ignore"):  # a feature that the scaling makes a constant has no inverse
        unscaled = (drawn - shift) / scale
        if coarse:
            unscaled = unscaled.astype(np.float32).astype(np.float64)
            drawn = drawn.astype(np.float32).astype(np.float64)
    drawn = np.where(np.isfinite(unscaled), unscaled, drawn)
    return np.vstack([np.repeat(np.array(CONSTANTS)[:, None], width, axis=1), drawn])


class _Values:
    """The values of stacks for rows, computed in one type; what stacks share is computed once.

    Beside every value stands, for each row, the largest number on the way to it, 1 at least.
    """

    def __init__(self, rows: Array, dtype: str) -> None:
        self.dtype = dtype
        self.rows = rows.astype(dtype)
        # By the layer, or the layer before and the matrix. They are objects of the stacks, and a
        # layer stands behind the same layers in all of them.
        self._layers: dict[int, tuple[Array, Array]] = {}
        self._products: dict[tuple[int, int], Array] = {}

    def of(self, stack: Stack) -> tuple[Array, Array]:
        """Return the value (n, width) and the largest numbers (n, 1)."""
        value, largest = self._behind(stack.layers)
        if stack.matrix is not None:
            return self._affine(stack.layers, stack.matrix, stack.shift, value, largest)
        if stack.scale is not None:
            value = value * stack.scale.astype(self.dtype)
            largest = np.maximum(largest, _magnitude(value))
        return self._shifted(value, stack.shift, largest)

    def _behind(self, layers: tuple[Layer, ...]) -> tuple[Array, Array]:
        known = len(layers)
        while known and id(layers[known - 1]) not in self._layers:
            known -= 1
        if known:
            value, largest = self._layers[id(layers[known - 1])]
        else:
            value, largest = self.rows, np.maximum(_magnitude(self.rows), 1)
        for depth in range(known, len(layers)):
            w, b, name = layers[depth]
            z, largest = self._affine(layers[:depth], w, b, value, largest)
            value = _activated(name, z)
            largest = np.maximum(largest, _magnitude(value))
            self._layers[id(layers[depth])] = value, largest
        return value, largest

    def _affine(
        self, before: tuple[Layer, ...], w: Array, b: Array | None, value: Array, largest: Array
    ) -> tuple[Array, Array]:
        key = (id(before[-1]) if before else 0, id(w))
        if key not in self._products:
            self._products[key] = value @ w.T.astype(self.dtype)
        product = self._products[key]
        return self._shifted(product, b, np.maximum(largest, _magnitude(product)))

    def _shifted(self, value: Array, shift: Array | None, largest: Array) -> tuple[Array, Array]:
        if shift is not None:
            value = value + shift.astype(self.dtype)
        return value, np.maximum(largest, _magnitude(value))


class _Comparison:
    """The stacks' values against what the model and the network give.

    Attributes
    ----------
    alive : array of bool
        The rows that have been finite so far. A row that overflows in both is left out from there.
    largest : float
        The largest difference so far.
    """

    def __init__(self, rows: Array, dtype: str, original: Original) -> None:
        self.rows, self.dtype, self.original = rows, dtype, original
        self.exact, self.rounded = _Values(rows, "float64"), _Values(rows, "float32")
        self.alive = np.ones(len(rows), bool)
        self.largest = 0.0

    def tensor(self, name: str, taken: Stack, given: Array) -> None:
        """Raise ValueError unless the model's tensor is what it is taken for."""
        ours, scale = self.exact.of(taken)
        if given.ndim == 0 or len(given) != len(ours) or given.size != ours.size:
            raise ValueError(
                f"{name} has the shape {given.shape} for {len(ours)} rows, where the network has "
                f"{ours.shape}: nothing was imported. {self.original.mend}"
            )
        given = given.reshape(ours.shape).astype(np.float64)
        if self.dtype == "float64":
            limit = np.maximum(RELATIVE["float64"] * _at_least_1(ours), ROUNDING * scale)
            self._check(name, self.original.mend, ours, given, limit, ours)
            return
        mine = self.rounded.of(taken)[0]
        own = min(OWN_ROUNDINGS * _relative(mine - ours, scale), COARSE)
        limit = np.maximum(RELATIVE["float32"] * _at_least_1(ours), own * scale)
        self._check(name, self.original.mend, ours, given, limit, mine)

    def network(self, network: Network, stack: Stack) -> None:
        """Raise ValueError unless the network is its stack, within rounding."""
        dtype = network.dtype.name
        (ours, scale), mine = self.exact.of(stack), None
        given = network.predict(self.rows.astype(dtype)).astype(np.float64)
        limit = np.maximum(RELATIVE[dtype] * _at_least_1(ours), ROUNDING * scale)
        if dtype == "float32":
            mine = self.rounded.of(stack)[0]
            limit = np.maximum(limit, OWN_ROUNDINGS * _relative(mine - ours, scale) * scale)
        what, mend = "the model's stack of layers", "This is a defect of chainrule: report it"
        self._check(what, mend, ours, given, limit, ours if mine is None else mine)

    def coarseness(self, network: Network, stack: Stack, output: str, taken: Stack) -> None:
        """Raise ValueError if float32 loses what the model keeps there, on the drawn rows."""
        ours, scale = self.exact.of(stack)
        given = network.predict(self.rows.astype(np.float32)).astype(np.float64)
        limit = COARSE * _at_least_1(ours)
        self.alive &= np.arange(len(self.rows)) >= len(CONSTANTS)
        if (np.abs(given - ours) <= limit).all(where=self.alive[:, None]):
            return
        dtype, found = _run(self.original, self.rows, "float32")
        if not isinstance(found, str) and output in found:
            exact, largest = self.exact.of(taken)
            lost = np.asarray(found[output]).reshape(exact.shape) - exact
            limit = np.maximum(limit, OWN_ROUNDINGS * _relative(lost, largest) * scale)
        mend = (
            "In float32 the network loses digits that the model keeps, where scalings are folded "
            'into its layers: import it with dtype="float64"'
        )
        name = f"{self.original.source} in exact arithmetic"
        self._check(name, mend, ours, given, limit, ours)

    def _check(
        self, name: str, mend: str, ours: Array, given: Array, limit: Array, mine: Array
    ) -> None:
        """Compare the rows that are alive; `mine` is what tells where ours overflows."""
        theirs_finite = np.isfinite(given).all(axis=1)
        ours_finite = np.isfinite(mine).all(axis=1)
        difference = np.abs(given - ours)
        compared = self.alive & (theirs_finite | ours_finite)
        wrong = ~(difference <= limit) & compared[:, None]
        if wrong.any():
            row = int(np.flatnonzero(wrong.any(axis=1))[0])
            excess = np.where(wrong[row], difference[row] / limit[row], -1.0)
            column = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
            raise ValueError(
                f"{name} and the network differ: {given[row, column]:.9g} and "
                f"{ours[row, column]:.9g}, by {difference[row, column]:.3g} where "
                f"{limit[row, 0]:.3g} may be rounding, in number {column} of {self._row(row)}. "
                f"Nothing was imported. {mend}"
            )
        self.alive &= theirs_finite & ours_finite
        self.largest = max(self.largest, float(np.max(difference[self.alive], initial=0.0)))

    def _row(self, row: int) -> str:
        if row < len(CONSTANTS):
            return f"the answer to a row of {CONSTANTS[row]:g}"
        return f"the answer to drawn row {row - len(CONSTANTS)}"


def _is_complete(stack: Stack) -> bool:
    return all(layer.activation in _core.ACTIVATIONS for layer in stack.layers)


def _activated(name: str, z: Array) -> Array:
    """Return g(z) of chainrule, for which a network of one weight, 1, serves; softmax by itself."""
    if name == "softmax":
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    unit = Network([1, 1], name, dtype=z.dtype, init="zeros", bias=False, seed=0)
    unit.weights[0][...] = 1
    return unit.predict(z.reshape(-1, 1)).reshape(z.shape)


def _magnitude(values: Array) -> Array:
    return np.asarray(np.abs(values).max(axis=1, keepdims=True))


def _at_least_1(values: Array) -> Array:
    return np.maximum(_magnitude(values), 1)


def _relative(difference: Array, scale: Array) -> float:
    """Return the largest difference relative to its row's scale, of those that are finite."""
    relative = np.abs(difference) / scale
    return float(np.max(relative, where=np.isfinite(relative), initial=0.0))
