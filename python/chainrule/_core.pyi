"""The C++ engine. Users import :mod:`chainrule`; this module is its private lower half."""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_P = ParamSpec("_P")
_R = TypeVar("_R")

__version__: str

ACTIVATIONS: tuple[str, ...]
LOSSES: tuple[str, ...]
INITIALIZERS: tuple[str, ...]
MAX_THREADS: int

class Network:
    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[str],
        loss: str,
        dtype: str,
        bias: bool,
        seed: int = 0,
        epoch: int = 0,
    ) -> None: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def activations(self) -> tuple[str, ...]: ...
    @property
    def loss(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def has_bias(self) -> bool: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def weights(self) -> tuple[NDArray[Any], ...]: ...
    @property
    def biases(self) -> tuple[NDArray[Any], ...]: ...
    def get_parameters(self) -> NDArray[Any]: ...
    def set_parameters(self, v: ArrayLike) -> None: ...
    def predict(
        self, x: ArrayLike, out: NDArray[Any] | None = None, *, threads: int | None = None
    ) -> NDArray[Any]: ...
    def __call__(
        self, x: ArrayLike, out: NDArray[Any] | None = None, *, threads: int | None = None
    ) -> NDArray[Any]: ...
    def cost(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> float: ...

def set_counters(network: Network, seed: int, epoch: int) -> None: ...
def gradients(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    warn: bool = True,
) -> tuple[float, tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]: ...
def quiet_cost(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    first_row: int = 0,
) -> tuple[float, tuple[int, int | None, str, int, str] | None]: ...
def record(network: Network, x: ArrayLike) -> tuple[NDArray[Any], Tape]: ...
def trace(
    network: Network, x: ArrayLike, y: ArrayLike
) -> tuple[
    tuple[NDArray[Any], ...],
    tuple[NDArray[Any], ...],
    tuple[NDArray[Any], ...],
    tuple[NDArray[Any], ...],
]: ...
def step(
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    optimizer: OptimizerState | None,
    learning_rate: float,
    threads: int | None = None,
    position: Position | None = None,
    label_smoothing: float = 0.0,
    dropout: tuple[Sequence[float], int, int, int] | None = None,
    warn: bool = True,
) -> tuple[float, int]: ...
def update(
    network: Network,
    weights: Sequence[NDArray[Any]],
    biases: Sequence[NDArray[Any]],
    optimizer: OptimizerState,
    learning_rate: float,
    position: Position | None = None,
    samples: int = 0,
    cost: float = 0.0,
    weight: float = 0.0,
) -> None: ...
def train_epoch(
    network: Network,
    x: NDArray[Any],
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None,
    batch_size: int,
    shuffle: tuple[int, int] | None,
    optimizer: OptimizerState,
    learning_rates: NDArray[np.float64],
    threads: int | None = None,
    poll: Callable[[int], object] | None = None,
    position: Position | None = None,
    label_smoothing: float = 0.0,
    dropout: tuple[Sequence[float], int, int, int] | None = None,
) -> tuple[float, int, int]: ...
def check_data(
    network: Network,
    x: NDArray[Any],
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None,
    first_row: int = 0,
) -> tuple[int, int | None, str, int, str] | None: ...
def check_label_smoothing(network: Network, label_smoothing: float) -> None: ...
def nonfinite_layer(network: Network) -> int: ...
def initialize(network: Network, schemes: Sequence[str], seed: int) -> None: ...
def fit_alone(
    network: Network, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs
) -> _R: ...

class Predictor:
    def __init__(self, network: Network) -> None: ...
    @property
    def has_bias(self) -> bool: ...
    def get_parameters(self) -> NDArray[Any]: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def activations(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def predict(
        self, x: ArrayLike, out: NDArray[Any] | None = None, *, threads: int | None = None
    ) -> NDArray[Any]: ...
    def __call__(
        self, x: ArrayLike, out: NDArray[Any] | None = None, *, threads: int | None = None
    ) -> NDArray[Any]: ...

@final
class Tape:
    def __init__(self, network: Network, x: ArrayLike) -> None: ...
    def pullback(
        self, dC_da: ArrayLike
    ) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...], NDArray[Any]]: ...

@final
class OptimizerState:
    def __init__(self, network: Network, rule: str, hyperparameters: dict[str, float]) -> None: ...
    @property
    def step(self) -> int: ...
    def get(self) -> dict[str, Any]: ...
    def set(
        self,
        step: int,
        vectors: dict[str, ArrayLike],
        beta1_power: float = 1.0,
        beta2_power: float = 1.0,
    ) -> None: ...

@final
class Position:
    def __init__(
        self, steps: int = 0, samples: int = 0, cost: float = 0.0, weight: float = 0.0
    ) -> None: ...
    @property
    def steps(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def cost(self) -> float: ...
    @property
    def weight(self) -> float: ...
    @property
    def mean(self) -> float: ...

@final
class Snapshot:
    def __init__(self, network: Network, optimizer: OptimizerState) -> None: ...
    def get(self) -> tuple[NDArray[Any], dict[str, Any]]: ...
    def retake(self) -> None: ...
    def restore(self) -> None: ...

def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]: ...
def philox4x32(key: Sequence[int], counter: Sequence[int]) -> tuple[int, int, int, int]: ...
def elementary(name: str, x: NDArray[Any]) -> NDArray[Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def output_range(activation: str) -> tuple[float, float]: ...
def config() -> dict[str, Any]: ...
def sync_folder(path: bytes) -> None: ...
def cgroup_cores(proc_self_cgroup: str, sys_fs_cgroup: str) -> int: ...
def fma_rate(dtype: str) -> float: ...
def read_rate(n_bytes: int) -> float: ...
