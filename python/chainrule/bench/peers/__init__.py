"""The peers: one file per library, written as an expert user of it would, and one line in `PEERS`.

To add a peer, write its file, add its line to `PEERS`, and name its packages in the extra ``bench``
of ``pyproject.toml``. Commands, tables, pictures, printed versions and tests follow from the line.

The module is named after the peer: ``torch_compile_.py`` for ``torch.compile``. It imports its
library only inside functions, so that no process but the peer's own worker loads it. It provides

- ``start(threads)``, called once in the worker before anything else,
- one function for each benchmark in its line, with that benchmark's name: see `PeerModule`,
- optionally ``peak_seconds(cell)``, the roofline's time of one step (chainrule has it).

A benchmark's function returns one or more variants: `Variant`, or `Learner` for accuracy. All are
checked against the reference; the fastest correct one is measured. If the library cannot do what is
asked, the function raises `UnsupportedError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from .. import packages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem

#: What a peer can be measured in.
INFERENCE, TRAINING, ACCURACY, LATENCY, SEARCH = BENCHMARKS = (
    "inference",
    "training",
    "accuracy",
    "latency",
    "search",
)
CELLS = (INFERENCE, TRAINING)  #: of ``python -m chainrule bench`` without another word

Names = dict[str, Any]


class UnsupportedError(Exception):
    """The library cannot express what is asked; the text says why."""


@dataclass(frozen=True)
class Variant:
    """One way to do a call: an expression to time, and how to read its result.

    Parameters
    ----------
    name, expression : str
    names : callable
        Returns the names that the expression uses. Each thread calls it once for names of its own;
        threads may share a model, but no array or object that a call writes to.
    results : callable
        Takes the value of one evaluation and the names. Returns [a^L], of shape (rows, n_L), or for
        training the parameters W^1, b^1, W^2, … after that epoch.
    context : callable, optional
        Returns a context in which the expression is evaluated.
    """

    name: str
    expression: str
    names: Callable[[], Names]
    results: Callable[[Any, Names], Sequence[Any]]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


class Learner(Protocol):
    """One way to train epoch by epoch: a network and Adam, over the samples of one problem."""

    name: str

    def reset(self) -> None:
        """Go back to the first weights and a new optimiser; what is compiled stays."""

    def epoch(self, order: NDArray[Any]) -> None:
        """Train on all samples in this order, batch by batch, and return when it is done."""

    def labels(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the most likely class of every row."""

    def parameters(self) -> Sequence[Any]:
        """Return W^1, b^1, W^2, …."""


class PeerModule(Protocol):
    """What the module of a peer provides: `start`, and the functions that its line names."""

    def start(self, threads: int) -> None:
        """Prepare the process, which has so many cores, for everything that follows."""

    def inference(self, problem: Problem) -> Sequence[Variant]:
        """Return variants of one call that computes a^L for ``problem.x``."""

    def training(self, problem: Problem) -> Sequence[Variant]:
        """Return variants of one epoch over all batches in order; a second call goes on."""

    def accuracy(self, problem: Problem) -> Sequence[Learner]:
        """Return variants that learn the samples of the problem with Adam."""

    def latency(self, folder: str, x: NDArray[Any]) -> Sequence[Variant]:
        """Return variants that answer for x, of shape (1, n_0).

        The folder has the model as ``model.safetensors`` and as ``model.onnx``.
        """

    def search(self) -> type:
        """Return a class with the parameters of scikit-learn's MLPClassifier."""


@dataclass(frozen=True)
class Peer:
    """One line of the list.

    Parameters
    ----------
    name : str
        As ``--systems`` takes it and tables show it.
    packages : tuple of str
        The packages that it imports, the library itself first.
    benchmarks : tuple of str
        The benchmarks that its module has a function for.
    colour, marker : str
        Colour and marker of its lines in pictures.
    """

    name: str
    packages: tuple[str, ...]
    benchmarks: tuple[str, ...]
    colour: str
    marker: str

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return packages.missing(self.packages)

    def load(self) -> PeerModule:
        """Import its module, which imports no library by that alone."""
        return cast(PeerModule, import_module(f".{self.name.replace('.', '_')}_", __name__))


#: All peers, in the order of the tables.
PEERS = {
    peer.name: peer
    for peer in (
        Peer("chainrule", ("chainrule",), BENCHMARKS, "#d62728", "o"),
        Peer("numpy", ("numpy",), CELLS, "#4d4d4d", "s"),
        Peer("numba", ("numba", "scipy"), CELLS, "#2ca02c", "D"),  # scipy brings the BLAS
        Peer("torch", ("torch",), (*CELLS, ACCURACY), "#ff7f0e", "^"),
        Peer("torch.compile", ("torch",), (INFERENCE, ACCURACY), "#c49c94", "v"),
        Peer("onnxruntime", ("onnxruntime", "onnx"), (INFERENCE, LATENCY), "#1f77b4", "<"),
        Peer("openvino", ("openvino", "onnx"), (INFERENCE, LATENCY), "#9467bd", ">"),
        Peer("jax", ("jax", "optax"), (*CELLS, ACCURACY), "#e377c2", "P"),
        Peer("sklearn", ("sklearn",), (*CELLS, ACCURACY, SEARCH), "#17becf", "X"),
        Peer("keras", ("keras",), (ACCURACY,), "#8c564b", "h"),
    )
}


def names(*benchmarks: str) -> list[str]:
    """Return the peers that take part in at least one of these benchmarks."""
    return [name for name, peer in PEERS.items() if {*benchmarks} & {*peer.benchmarks}]
