"""What the classifier and the regressor share: from arrays and parameters to a trained network."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from chainrule.network import Network
from chainrule.sklearn import descent, lbfgs
from chainrule.sklearn.data import Samples, Task, checked_weights, predict
from chainrule.sklearn.parameters import glorot, hidden_activations, hidden_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.optimizers import Optimizer

#: What a fit leaves behind beside the network: a new one starts without.
COURSE = (
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "n_iter_",
    "t_",
    "_no_improvement_count",
    "_optimizer",
)


class Perceptron(BaseEstimator, ABC):
    """A multilayer perceptron behind scikit-learn's methods."""

    network_: Network
    _optimizer: Optimizer
    n_outputs_: int

    @abstractmethod
    def _check_parameters(self) -> None:
        """Raise ValueError unless every parameter is what it may be."""

    @abstractmethod
    def _encode(self, y: Any, goes_on: bool, incremental: bool, classes: Any) -> Any:
        """Return y as numbers; set what follows from it."""

    @abstractmethod
    def _targets(self, y: Any) -> Any:
        """Return what the network is trained on, from what ``_encode`` returned."""

    @abstractmethod
    def _class_weights(self, y: Any) -> NDArray[np.float64] | None:
        """Return the weights that the samples' classes give them."""

    @abstractmethod
    def _regularization(self) -> dict[str, Any]:
        """Return what smooths the targets, as arguments of the network's methods."""

    @abstractmethod
    def _output(self) -> tuple[str, str]:
        """Return the outputs' activation and the loss, as chainrule names them."""

    @abstractmethod
    def _scales(self) -> tuple[float, float]:
        """Return by how much scikit-learn's gradient and its reported loss exceed the network's."""

    @abstractmethod
    def _validation_score(self, outputs: NDArray[Any], validation: Samples) -> float:
        """Return the score that early stopping looks at."""

    # Training

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool = False, classes: Any = None
    ) -> None:
        before = self.__dict__.copy()
        try:
            self._check_parameters()
            if incremental and self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            self._train(X, y, sample_weight, incremental, classes)
        except BaseException:  # nothing is half-fitted
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _train(self, X: Any, y: Any, sample_weight: Any, incremental: bool, classes: Any) -> None:
        goes_on = hasattr(self, "network_") and (incremental or self.warm_start)
        if not goes_on:
            for name in COURSE:
                self.__dict__.pop(name, None)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=(np.float64, np.float32),
            order="C",
            reset=not goes_on,
        )
        weight, by_class = checked_weights(sample_weight, X.shape[0]), self._class_weights(y)
        if by_class is not None:
            weight = checked_weights(
                by_class if weight is None else weight * by_class, len(by_class)
            )
        samples = Samples(X, self._encode(y, goes_on, incremental, classes), weight)

        rng = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden_sizes(self.hidden_layer_sizes), self.n_outputs_]
        activations = hidden_activations(self.activation, len(sizes) - 2)
        logistic = set(activations) == {"sigmoid"}
        drawn = glorot(rng, sizes, logistic) if not goes_on and self.init == "sklearn" else None
        validation = None
        if self.early_stopping and self.solver != "lbfgs":
            samples, validation = self._split(samples, rng)
        if goes_on:
            network = self._known_network(sizes, incremental)
        else:
            network = self._new_network(sizes, activations, X.dtype, rng, drawn)
        scale, shown = self._scales()
        samples = samples._replace(y=self._targets(samples.y))
        task = Task(
            samples, validation, scale, shown, self._regularization(), self._validation_score
        )
        if self.solver == "lbfgs":
            lbfgs.train(self, network, task)
        else:
            last = getattr(self, "_optimizer", None)
            waited = getattr(self, "_no_improvement_count", 0)
            self._optimizer, self._no_improvement_count = descent.train(
                self, network, task, incremental, last, waited
            )
        self.network_ = network

    def _split(self, samples: Samples, rng: Any) -> tuple[Samples, Samples]:
        """Set samples aside for validation; of two classes each its share, as scikit-learn does."""
        y = samples.y
        parts = train_test_split(
            *(part for part in samples if part is not None),
            random_state=rng,
            test_size=self.validation_fraction,
            stratify=y if is_classifier(self) and self.n_outputs_ == 1 else None,
        )
        train, validation = Samples(*parts[0::2]), Samples(*parts[1::2])
        if len(validation.y) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                f"your dataset: it has {len(y)} samples, of which {len(validation.y)} would be "
                "set aside, and at least 2 must be"
            )
        return train, validation

    def _new_network(
        self,
        sizes: Sequence[int],
        activations: Sequence[str],
        dtype: Any,
        rng: Any,
        drawn: Sequence[tuple[NDArray[Any], NDArray[Any]]] | None,
    ) -> Network:
        output, loss = self._output()
        network = Network(
            sizes,
            [*activations, output],
            loss,
            dtype=dtype,
            init="zeros" if drawn else self.init,
            seed=int(rng.randint(2**63 - 1, dtype=np.int64)),
        )
        for (w, b), weights, biases in zip(
            drawn or (), network.weights, network.biases, strict=bool(drawn)
        ):
            weights[...], biases[...] = w.T, b
        return network

    def _known_network(self, sizes: list[int], incremental: bool) -> Network:
        if list(self.network_.sizes) != sizes:
            raise ValueError(
                f"training goes on with the network of sizes {list(self.network_.sizes)}, but "
                f"parameters and data ask for {sizes}: fit a new estimator, or set "
                "warm_start=False"
            )
        # partial_fit goes on with the optimiser's state, which belongs to this very network.
        return self.network_ if incremental else copy.deepcopy(self.network_)

    # Answers

    def _outputs(self, X: Any) -> NDArray[Any]:
        """Return the network's outputs, shape (n, n_outputs_)."""
        check_is_fitted(self)
        X = validate_data(
            self,
            X,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            order="C",
            reset=False,
        )
        return predict(self.network_, X, self.threads)

    # Parameters of the network, under scikit-learn's names

    @property
    def coefs_(self) -> tuple[NDArray[Any], ...]:
        """Weights of each layer, shape (n_{l-1}, n_l): writable views into ``network_``."""
        return tuple(w.T for w in self._fitted("coefs_").weights)

    @coefs_.setter
    def coefs_(self, values: Sequence[Any]) -> None:
        _assign(self.coefs_, values, "coefs_")

    @property
    def intercepts_(self) -> tuple[NDArray[Any], ...]:
        """Biases of each layer, shape (n_l,): writable views into ``network_``."""
        return tuple(self._fitted("intercepts_").biases)

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Any]) -> None:
        _assign(self.intercepts_, values, "intercepts_")

    @property
    def n_layers_(self) -> int:
        """Layers, the inputs counted as one."""
        return len(self._fitted("n_layers_").sizes)

    @property
    def out_activation_(self) -> str:
        """Name of the outputs' activation, as scikit-learn has it."""
        name = self._fitted("out_activation_").activations[-1]
        return "logistic" if name == "sigmoid" else name

    def _fitted(self, name: str) -> Network:
        if "network_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no {name} before fit")
        return self.network_

    def __getstate__(self) -> dict[str, Any]:
        # A copy of an optimizer starts without state: it goes along, for partial_fit to go on.
        state = dict(super().__getstate__())
        if "_optimizer" in state:
            state["_optimizer_state"] = state["_optimizer"].state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        moments = state.pop("_optimizer_state", None)
        super().__setstate__(state)
        if moments is not None:
            self._optimizer.load_state_dict(self.network_, moments)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def is_stochastic(estimator: Perceptron) -> bool:
    """Tell whether there is a partial_fit; an AttributeError says why not."""
    if isinstance(estimator.solver, str) and estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs a stochastic solver: lbfgs is not")
    return True


def _assign(views: Sequence[NDArray[Any]], values: Sequence[Any], name: str) -> None:
    shapes, given = [v.shape for v in views], [np.shape(v) for v in values]
    if shapes != given:
        raise ValueError(f"{name} must be arrays of shapes {shapes}, got {given}")
    for view, value in zip(views, values, strict=True):
        view[...] = value
