"""An imported network against the model that it came from: both are run, and compared.

Rules about the structure of a model see what they look for. Running it sees the rest: a method
that somebody replaced, an argument that no rule reads, a defect of the importer. Every importer
therefore ends with ``verify``, and returns no network that answers otherwise than its model.

What an importer takes a tensor of the model for is a ``Stack``. ``verify`` evaluates the stacks in
float64, and the model in float64 where it can be widened, else in float32. In exact arithmetic both
are the same function: a difference is an error of the import, unless it is rounding. How much
rounding there can be is measured on the stacks, by evaluations that round otherwise. Last the
network is compared with its own stack, and in float32 with what the model itself loses there.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.network import Network
from chainrule.warning import warn

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
# or more numbers than these: about a second for each evaluation, and 16 MB.
FEWEST, MULTIPLY_ADDS, NUMBERS = 8, 2**33, 2**21

# Differences that are always allowed, relative to the largest output of the row, 1 at least.
RELATIVE = {"float64": 1e-10, "float32": 1e-5}
# Otherwise so many times the rounding that is measured, in so many evaluations (of two results that
# hang by one number, one is 8 times nearer to the exact one in 8 % of all cases); but never more
# than COARSE of the largest number on the way, which no user takes for rounding.
OWN_ROUNDINGS, EVALUATIONS, COARSE = 8.0, 6, 1e-3


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
            given = comparison.network(network, stack)
            if network.dtype == np.float32:
                comparison.coarseness(given, stack, output, tensors[output])
            if comparison.alive[len(CONSTANTS) :].any():
                logger.info(
                    "%s: verified in %s on %d rows, largest difference %.2g",
                    original.source, dtype, len(rows), comparison.largest,
                )  # fmt: skip
                return
            found = "it gives no finite numbers"
    warn(
        f"{original.source} could not be run beside the network ({found}): the import is not "
        "verified. Compare the outputs on data of your own"
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
    state = np.random.get_state(legacy=False)
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

    Beside every value stands, for each row, the largest number on the way to it, 1 at least. With
    a seed, what enters and leaves a product or a sum is off by at most one rounding, and products
    are summed in two parts, cut at random.
    """

    def __init__(self, rows: Array, dtype: str, seed: int | None = None) -> None:
        self.dtype = dtype
        self.rows = rows.astype(dtype)
        self._random = None if seed is None else np.random.Generator(np.random.PCG64(seed))
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
            value = self._off(value * stack.scale.astype(self.dtype))
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
            self._products[key] = self._product(value, w.astype(self.dtype, copy=False))
        product = self._products[key]
        z, largest = self._shifted(product, b, np.maximum(largest, _magnitude(product)))
        return self._off(z), largest

    def _product(self, value: Array, w: Array) -> Array:
        if self._random is None:
            return np.asarray(value @ w.T)
        value, cut = self._off(value), self._random.integers(len(w.T))
        return self._off(value[:, cut:] @ w[:, cut:].T + value[:, :cut] @ w[:, :cut].T)

    def _off(self, value: Array) -> Array:
        if self._random is None:
            return value
        off = self._random.integers(-1, 2, value.shape) * np.finfo(self.dtype).eps
        return np.asarray(value * (1 + off).astype(self.dtype))

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
        self.exact = _Values(rows, "float64")
        self.alive = np.ones(len(rows), bool)
        self.largest = 0.0
        self._evaluations: dict[str, list[_Values]] = {}

    def tensor(self, name: str, taken: Stack, given: Array) -> None:
        """Raise ValueError unless the model's tensor is what it is taken for."""
        shape = self.exact.of(taken)[0].shape
        if given.ndim == 0 or len(given) != shape[0] or given.size != shape[0] * shape[1]:
            raise ValueError(
                f"{name} has the shape {given.shape} for {shape[0]} rows, where the network has "
                f"{shape}: nothing was imported. {self.original.mend}"
            )
        self._check(name, self.original.mend, taken, given.reshape(shape), self.dtype)

    def network(self, network: Network, stack: Stack) -> Array:
        """Return the network's outputs; ValueError unless they are its stack's, within rounding."""
        given = network.predict(self.rows.astype(network.dtype))
        mend = "This is a defect of chainrule: report it"
        self._check("the model's layers", mend, stack, given, network.dtype.name)
        return given

    def coarseness(self, given: Array, stack: Stack, output: str, taken: Stack) -> None:
        """Raise ValueError if float32 loses what the model keeps there, on the drawn rows."""
        ours, scale = self.exact.of(stack)
        limit = COARSE * _at_least_1(ours)
        rows = self.alive & (np.arange(len(self.rows)) >= len(CONSTANTS))
        if not _beyond(np.abs(given - ours), limit, rows).any():
            return
        _, found = _run(self.original, self.rows, "float32")
        if not isinstance(found, str) and output in found:
            exact, largest = self.exact.of(taken)
            lost = np.asarray(found[output], np.float64).reshape(exact.shape) - exact
            limit = np.maximum(limit, OWN_ROUNDINGS * _spread([lost], largest, scale))
        wrong = _beyond(np.abs(given - ours), limit, rows)
        if wrong.any():
            mend = (
                "In float32 the network loses digits that the model keeps, where scalings are "
                'folded into its layers: import it with dtype="float64"'
            )
            self._refuse(f"{self.original.source} in float64", mend, wrong, ours, given, limit)

    def _check(self, name: str, mend: str, taken: Stack, given: Array, dtype: str) -> None:
        """Compare the rows that are alive, with the rounding of `dtype`."""
        given = given.astype(np.float64)
        ours, scale = self.exact.of(taken)
        finite = np.isfinite(given).all(axis=1)
        ours_finite = np.isfinite(ours).all(axis=1)
        limit = RELATIVE[dtype] * _at_least_1(ours)
        difference = np.abs(given - ours)
        wrong = _beyond(difference, limit, self.alive & (finite | ours_finite))
        if wrong.any():
            mine = [values.of(taken)[0] for values in self._rounded(dtype)]
            own = OWN_ROUNDINGS * _spread([m - ours for m in mine], scale, scale)
            limit = np.maximum(limit, np.minimum(own, COARSE * scale))
            ours_finite = np.asarray(np.isfinite(mine).all(axis=(0, 2)))
            wrong = _beyond(difference, limit, self.alive & (finite | ours_finite))
        if wrong.any():
            self._refuse(name, mend, wrong, ours, given, limit)
        self.alive &= finite & ours_finite
        self.largest = max(self.largest, float(np.max(difference[self.alive], initial=0.0)))

    def _rounded(self, dtype: str) -> list[_Values]:
        if dtype not in self._evaluations:
            seeds = range(EVALUATIONS)
            self._evaluations[dtype] = [_Values(self.rows, dtype, seed) for seed in seeds]
        return self._evaluations[dtype]

    def _refuse(
        self, name: str, mend: str, wrong: Array, ours: Array, given: Array, limit: Array
    ) -> None:
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        difference = np.abs(given[row] - ours[row])
        finite = np.where(np.isfinite(difference), difference, np.inf)
        column = int(np.argmax(np.where(wrong[row], finite, -1.0)))
        raise ValueError(
            f"{name} and the network differ: {given[row, column]:.9g} and "
            f"{ours[row, column]:.9g}, by {difference[column]:.3g} where {limit[row, 0]:.3g} may "
            f"be rounding, in number {column} of {self._row(row)}. Nothing was imported. {mend}"
        )

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


def _beyond(difference: Array, limit: Array, rows: Array) -> Array:
    """Tell which differences of these rows are not within the limit; NaN is not."""
    return np.asarray(~(difference <= limit) & rows[:, None])


def _magnitude(values: Array) -> Array:
    return np.asarray(np.abs(values).max(axis=1, keepdims=True))


def _at_least_1(values: Array) -> Array:
    return np.maximum(_magnitude(values), 1)


def _spread(differences: list[Array], scale: Array, onto: Array) -> Array:
    """Return the rounding of every row (n, 1) that these differences of a few evaluations show.

    It is the largest of the row, or the largest relative to the scale that any row has.
    """
    finite = [np.where(np.isfinite(d), np.abs(d), 0.0) for d in differences]
    largest = np.max(finite, axis=(0, 2))[:, None]
    relative = largest / scale
    most = np.max(relative, where=np.isfinite(relative), initial=0.0)
    return np.asarray(np.maximum(largest, most * onto))
