"""``MLPRegressor``: one number a sample, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from chainrule.sklearn import poisson
from chainrule.sklearn.base import Perceptron, is_stochastic
from chainrule.sklearn.data import Samples, r2
from chainrule.sklearn.parameters import LOSSES, check_parameters, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    from chainrule.network import Callback, Initializer
    from chainrule.optimizers import Optimizer


class MLPRegressor(RegressorMixin, Perceptron):
    """Regressor of a multilayer perceptron, for scikit-learn.

    Parameters
    ----------
    loss : str, default "squared_error"
        "squared_error" (half of it), "absolute_error", "huber", or mse, sse, mae, half_mse as
        ``chainrule.Network`` has them; or "poisson", half the deviance of counts y >= 0 whose
        mean is the exponential of what ``network_`` gives (no dropout, no progress).
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
        R² of the samples set aside, after every epoch; None without early stopping.
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
    Parameters, defaults and attributes are those of scikit-learn's MLPRegressor, where it has them.
    Known differences: the order of samples is drawn by chainrule; a momentum is not rescaled when
    the learning rate changes, and Adam's epsilon is added to the corrected √v, both as in PyTorch;
    the penalty counts the same in a smaller last batch; `loss_` takes Σ w² to change evenly over
    an epoch. Training that leaves the finite numbers is a ValueError at once.

    Results are the same to the last bit on every machine and for any number of threads, except
    those of lbfgs, which SciPy computes. X is read in float32 or float64 as it comes, which is
    then the network's type; a sparse X stays sparse.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=5, random_state=0)
    >>> model = MLPRegressor(solver="lbfgs", random_state=0, max_iter=500).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """

    @property
    def out_activation_(self) -> str:
        """Name of the outputs' activation, as scikit-learn has it."""
        name = super().out_activation_
        return "exp" if self.loss == "poisson" else name

    def __init__(
        self,
        loss: str = "squared_error",
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
        dropout: float | Sequence[float] = 0.0,
        init: str | Initializer = "sklearn",
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
        threads: int | None = None,
    ) -> None:
        self.loss = loss
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
        y : array_like of shape (n,) or (n, n_outputs)
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch on X and y, going on from where training is; arguments as for fit."""
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the predictions, shape (n,), or (n, n_outputs) for several a sample."""
        outputs = self._mean(self._outputs(X))
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _check_parameters(self) -> None:
        check_parameters(self, loss=one_of("poisson", *LOSSES))
        if self.loss == "poisson" and (np.any(self.dropout) or self.progress):
            raise ValueError("loss='poisson' takes neither dropout nor progress")

    def _encode(self, y: Any, goes_on: bool, incremental: bool, classes: Any) -> Any:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        return y

    def _targets(self, y: Any) -> Any:
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"loss='poisson' needs y >= 0, got {y.min()}")
        return y

    def _mean(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions that the outputs stand for."""
        return poisson.mean(outputs) if self.loss == "poisson" else outputs

    def _regularization(self) -> dict[str, Any]:
        return {}

    def _class_weights(self, y: Any) -> None:
        return None

    def _output(self) -> tuple[str, str]:
        # Of the Poisson loss the network learns the logarithm; its own loss is not used.
        return "identity", LOSSES.get(self.loss, "half_mse")

    def _scales(self) -> tuple[float, float]:
        # scikit-learn reports the mean over outputs and descends along the sum's gradient.
        return (float(self.n_outputs_) if self.loss == "squared_error" else 1.0), 1.0

    def _validation_score(self, outputs: NDArray[Any], validation: Samples) -> float:
        return r2(self._mean(outputs), validation.y, validation.weight)
