"""``MLPClassifier``: one of two or of many classes, or any of several labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import column_or_1d

from chainrule import _core
from chainrule.sklearn.base import Perceptron, is_stochastic
from chainrule.sklearn.data import Samples, weighted_mean
from chainrule.sklearn.labels import Labels
from chainrule.sklearn.parameters import LOSSES, check_parameters, number, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from chainrule.network import Callback, Initializer
    from chainrule.optimizers import Optimizer


class MLPClassifier(ClassifierMixin, Perceptron):
    """Classifier of a multilayer perceptron, for scikit-learn.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Units of each hidden layer; () for none.
    activation : str or sequence of str, default "relu"
        Of all hidden layers, or one name each: identity, logistic, tanh, relu; and chainrule's
        leaky_relu, elu, selu, softplus, silu, gelu, hardswish (sigmoid is logistic).
    solver : str or chainrule optimizer, default "adam"
        "adam", "sgd", or "lbfgs" (all samples at once, by SciPy); "adamw" (with its weight decay
        of 0.01), "rmsprop" or "adagrad". An optimizer such as ``chainrule.RMSprop(1e-3, l2=1e-4)``
        brings hyperparameters of its own: `alpha`, `learning_rate`, `learning_rate_init`, the
        momenta and `epsilon` are then not used, and the cost is the network's as it stands.
    alpha : float, default 0.0001
        L2 penalty ½ alpha Σ w² of the weights, not the biases; it is divided by the number of
        samples of a batch (or the batches' mean weight) and part of the loss.
    batch_size : int or "auto", default "auto"
        Samples an update; "auto" is min(200, n_samples). Not used by lbfgs.
    learning_rate : str or callable, default "constant"
        "constant"; for sgd also "invscaling", learning_rate_init / (t + 1)^power_t after t
        samples, and "adaptive", which divides the rate by 5 when training gets no further, and
        stops below 1e-6. Or a function of the step from 0, as in ``chainrule.schedules``.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
        Only used with "invscaling".
    max_iter : int, default 200
        Epochs at most; iterations of lbfgs.
    shuffle : bool, default True
        Draw the batches in random order.
    random_state : int, RandomState or None, default None
        Fixes the initial weights (the numbers that scikit-learn's perceptrons draw from it), the
        validation data of early stopping, and the order of samples.
    tol : float, default 1e-4
        Loss (or validation score) must improve by this to count as better; of lbfgs, the greatest
        component of the gradient at the end.
    verbose : bool or int, default False
        Print losses and scores.
    warm_start : bool, default False
        Let ``fit`` go on from the weights it found last.
    momentum : float, default 0.9
        In [0, 1). Only used by sgd.
    nesterovs_momentum : bool, default True
        Only used by sgd.
    early_stopping : bool, default False
        Set samples aside, watch their score instead of the loss, and keep the best weights.
    validation_fraction : float, default 0.1
        Share of samples set aside.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Of adam and adamw.
    epsilon : float, default 1e-8
        Of adam, adamw, rmsprop and adagrad.
    n_iter_no_change : int or inf, default 10
        Stop (or lower an adaptive rate) after more epochs than this without improvement.
    max_fun : int, default 15000
        Evaluations at most. Only used by lbfgs.
    loss : str, default "log_loss"
        Or half_mse, mse, sse, mae, huber: of the probabilities against 0 and 1.
    class_weight : dict or "balanced", optional
        Weight of each class by its label, times `sample_weight`; "balanced" makes all classes
        count the same. Of several labels per sample, a list of dicts, one per label.
    label_smoothing : float, default 0
        ε in [0, 1): train towards (1 - ε) y + ε/n_classes; of two classes and of several labels
        (1 - ε) y + ε/2. Only with log_loss.
    dropout : float or sequence of float, default 0
        Rate at which hidden activations are set to 0 in training, one or one a hidden layer.
        Not with lbfgs.
    init : str or callable, default "sklearn"
        How parameters are drawn: "sklearn" draws weights and biases uniformly in
        ±√(6 / (n_in + n_out)), or ±√(2 / …) if all hidden units are logistic. The other names and
        functions are those of ``chainrule.Network``.
    progress : bool, default False
        Show a bar, as ``Network.fit`` does.
    callbacks : sequence of callable, default ()
        Called as ``Network.fit`` does after every epoch; not used by lbfgs.
    threads : int, optional
        At most so many threads; the results do not depend on it. None leaves it to chainrule and to
        OMP_NUM_THREADS, which joblib sets in its workers.

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted; of a multi-label target the columns' numbers.
    network_ : chainrule.Network
        The trained network: ``network_.trace``, ``network_.freeze()``, ``network_.save(path)``.
    coefs_, intercepts_ : tuple of ndarray
        Weights of shape (n_in, n_out) and biases of each layer: writable views into ``network_``.
    loss_ : float
        Loss of the last epoch, the penalty included.
    best_loss_ : float or None
        The lowest loss; None with early stopping. Like the next three not set by lbfgs.
    loss_curve_ : list of float
        Loss of every epoch.
    validation_scores_ : list of float or None
        Accuracy of the samples set aside, after every epoch; None without early stopping.
    best_validation_score_ : float or None
    n_iter_ : int
        Epochs, or iterations, of the last fit.
    t_ : int
        Samples trained on.
    n_layers_, n_outputs_ : int
    out_activation_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X has names of columns.

    Notes
    -----
    Parameters, defaults and attributes are those of scikit-learn's MLPClassifier, where it has
    them. Known differences: the order of samples is drawn by chainrule; a momentum is not rescaled
    when the learning rate changes, and Adam's epsilon is added to the corrected √v, both as in
    PyTorch; the penalty counts the same in a smaller last batch; `loss_` takes Σ w² to change
    evenly over an epoch. Training that leaves the finite numbers is a ValueError at once.

    Results are the same to the last bit on every machine and for any number of threads, except
    those of lbfgs, which SciPy computes. X is read in float32 or float64 as it comes, which is
    then the network's type; a sparse X stays sparse.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(random_state=0, max_iter=50, tol=1e-3).fit(X / 16, y)
    >>> model.score(X / 16, y) > 0.99
    True
    """

    classes_: NDArray[Any]
    _labels: Labels

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        init: str | Initializer = "sklearn",
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
        threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.dropout = dropout
        self.init = init
        self.progress = progress
        self.callbacks = callbacks
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on X and y.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_labels)
            Labels of any kind, or a matrix of 0 and 1 for several labels per sample.
        sample_weight : array_like of shape (n,), optional
            Finite and >= 0, not all 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or the data are not what they must be, or training leaves the finite
            numbers. The estimator is then what it was before.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` came before training got no further.
        """
        self._fit(X, y, sample_weight)
        return self

    @available_if(is_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train one epoch on X and y, going on from where training is.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``; y need not hold every class.
        classes : array_like of shape (n_classes,), optional
            All labels that will come. Needed in the first call.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} depends on all of y, of which partial_fit "
                "sees a part: give a dict of weights by label"
            )
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def predict(self, X: Any) -> Any:
        """Return the most probable label of each sample, or of many labels those over 1/2."""
        outputs = self._outputs(X)
        return self._labels.decode(self._labels.decide(outputs))

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, shape (n, n_classes), in the order of classes_."""
        outputs = self._outputs(X)
        if self._labels.kind != "binary":
            return outputs
        if len(self.classes_) == 1:
            return np.ones_like(outputs)
        return np.hstack([1 - outputs, outputs])

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of ``predict_proba``."""
        return _core.elementary("log", self.predict_proba(X))

    def _check_parameters(self) -> None:
        check_parameters(self, loss=one_of("log_loss", *LOSSES), label_smoothing=number(0, 1))

    def _encode(self, y: Any, goes_on: bool, incremental: bool, classes: Any) -> Any:
        if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1 and not issparse(y):
            y = column_or_1d(y, warn=True)
        if incremental:
            self._check_classes(classes, goes_on)
        if not goes_on:
            self._labels = Labels.of(y, classes)
        elif not incremental and self._labels.differ(y):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {Labels.of(y).classes}"
            )
        unknown = self._labels.unknown(y) if goes_on or classes is not None else ()
        if len(unknown):
            raise ValueError(
                f"y has labels that are not among classes_, {self._labels.classes}: {unknown}"
            )
        self.classes_ = self._labels.classes
        self.n_outputs_ = self._labels.n_outputs
        return self._labels.indices(y)

    def _check_classes(self, classes: Any, goes_on: bool) -> None:
        if classes is None and not goes_on:
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels that will come"
            )
        if (
            goes_on
            and classes is not None
            and not np.array_equal(unique_labels(classes), self.classes_)
        ):
            raise ValueError(
                f"classes={classes} is not the same as on last call to partial_fit, was: "
                f"{self.classes_}"
            )

    def _targets(self, y: Any) -> Any:
        return self._labels.targets(y, one_hot=self.loss != "log_loss")

    def _regularization(self) -> dict[str, Any]:
        return {"label_smoothing": self.label_smoothing}

    def _class_weights(self, y: Any) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return None
        weights: NDArray[np.float64] = compute_sample_weight(self.class_weight, y)
        return weights

    def _output(self) -> tuple[str, str]:
        if self.loss != "log_loss":
            loss = LOSSES[self.loss]
            return ("softmax" if self._labels.kind == "multiclass" else "sigmoid"), loss
        if self._labels.kind == "multiclass":
            return "softmax", "cross_entropy"
        return "sigmoid", "binary_cross_entropy"

    def _scales(self) -> tuple[float, float]:
        # scikit-learn adds up the log losses of several labels, of which chainrule takes the mean.
        scale = float(self.n_outputs_) if self.loss == "log_loss" else 1.0
        return (scale, scale) if self._labels.kind == "multilabel" else (1.0, 1.0)

    def _validation_score(self, outputs: NDArray[Any], validation: Samples) -> float:
        """Return the accuracy: the share of samples of which every label is right."""
        right = self._labels.decide(outputs) == validation.y
        return weighted_mean(right.all(axis=1) if right.ndim == 2 else right, validation.weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
