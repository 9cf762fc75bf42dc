"""Stochastic solvers: epochs of ``Network.fit``, watched over as scikit-learn does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from chainrule import _core
from chainrule.optimizers import Optimizer
from chainrule.sklearn import poisson
from chainrule.sklearn.data import Batches, Task, predict, thread_limit
from chainrule.sklearn.parameters import make_optimizer
from chainrule.training.divergence import DivergenceError
from chainrule.warning import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.network import Network
    from chainrule.training.history import History

# scikit-learn's floor of solver="sgd", learning_rate="adaptive".
LEAST_RATE = 1e-6


def train(
    estimator: Any,
    network: Network,
    task: Task,
    incremental: bool,
    last: Optimizer | None,
    waited: int,
) -> tuple[Optimizer, int]:
    """Train `network`, and enter the course of it in the estimator's attributes.

    Takes and returns the optimiser, and the epochs in a row without improvement.
    """
    n, weight = len(task.samples.y), task.samples.weight
    batch_size = _batch_size(estimator.batch_size, n)
    # Of one batch the order does not matter, and rows need not be gathered.
    shuffle = bool(estimator.shuffle) and batch_size < n
    mean_weight = 1.0 if weight is None else float(weight.cumsum()[-1]) / n
    named = not isinstance(estimator.solver, Optimizer)
    penalty = estimator.alpha / (batch_size * mean_weight) if named else 0.0
    scale = task.scale if named else 1.0
    optimizer = make_optimizer(estimator, penalty, scale)
    if incremental and last is not None:
        optimizer = _take_over(estimator, network, last, optimizer)
    updates = math.ceil(n / batch_size)
    course = Course(estimator, network, optimizer, task, updates, penalty, scale, waited)
    options: dict[str, Any] = {
        "epochs": 1 if incremental else estimator.max_iter,
        "optimizer": optimizer,
        "callbacks": [course, *estimator.callbacks],
    }
    try:
        _fit(estimator, network, task, batch_size, shuffle, options)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
    except DivergenceError as error:
        if task.validation is None:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                f"values and need to be preprocessed: {error}"
            ) from error
        course.diverged()
        warn(f"{error}. Those of the best validation score are kept", ConvergenceWarning)
    else:
        if not incremental and course.epochs == estimator.max_iter and not course.converged:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    if course.best is not None:
        network.set_parameters(course.best)
    return optimizer, course.waited


def _fit(
    estimator: Any,
    network: Network,
    task: Task,
    batch_size: int,
    shuffle: bool,
    options: dict[str, Any],
) -> None:
    x, y, weight = task.samples
    if estimator.loss == "poisson":
        batches = Batches(network, task.samples, batch_size, shuffle)
        poisson.fit(network, batches, **options)
        return
    options |= {
        "progress": estimator.progress,
        "threads": estimator.threads or thread_limit(),
        "dropout": estimator.dropout,
        **task.regularization,
    }
    options |= {"batch_size": batch_size, "shuffle": shuffle, "sample_weight": weight}
    network.fit(x, y, **options)


class Course:
    """Follows training from epoch to epoch: losses, scores, learning rate, when to stop.

    ``fit`` calls it after every epoch. What it finds goes into the estimator's attributes.

    Parameters
    ----------
    batches : int
        Updates of an epoch.
    penalty : float
        λ of the penalty ½ λ Σ w² that is part of the loss.
    scale : float
        By how much the optimiser's learning rate of plain descent exceeds the estimator's.
    waited : int
        Epochs in a row without improvement, so far.
    """

    best: NDArray[Any] | None = None

    def __init__(
        self,
        estimator: Any,
        network: Network,
        optimizer: Optimizer,
        task: Task,
        batches: int,
        penalty: float,
        scale: float,
        waited: int,
    ) -> None:
        self.estimator, self.optimizer, self.task = estimator, optimizer, task
        self.batches, self.penalty, self.scale, self.waited = batches, penalty, scale, waited
        self.squares = _squares(network) if penalty else 0.0
        self.epochs = 0
        self.converged = False
        e = estimator
        e.n_iter_ = 0
        e.t_ = getattr(e, "t_", 0)
        e.loss_curve_ = list(getattr(e, "loss_curve_", ()))
        if e.early_stopping:
            e.best_loss_ = None
            e.validation_scores_ = list(getattr(e, "validation_scores_", None) or ())
            known = getattr(e, "best_validation_score_", None)
            e.best_validation_score_ = -math.inf if known is None else known
            self.best = network.get_parameters()
        else:
            known = getattr(e, "best_loss_", None)
            e.best_loss_ = math.inf if known is None else known
            e.validation_scores_ = e.best_validation_score_ = None

    def __call__(self, network: Network, history: History) -> bool:
        """Take note of an epoch; return whether to stop."""
        e = self.estimator
        loss = history.cost[-1] * self.task.shown + self._penalty(network)
        self._enter(loss)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        if self.task.validation is None:
            improved = not loss > e.best_loss_ - e.tol
            e.best_loss_ = min(e.best_loss_, loss)
        else:
            improved = self._validate(network)
        self.waited = 0 if improved else self.waited + 1
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            self._set_rate(e.learning_rate_init * _power(e.t_ + 1, -e.power_t))
        if self.waited > e.n_iter_no_change:
            self.converged = self._give_up()
            if not self.converged:
                self.waited = 0
        return self.converged

    def diverged(self) -> None:
        """Enter an epoch that left the finite numbers."""
        self._enter(math.nan)
        self.estimator.validation_scores_.append(math.nan)

    def _enter(self, loss: float) -> None:
        e = self.estimator
        self.epochs += 1
        e.n_iter_ += 1
        e.t_ += len(self.task.samples.y)
        e.loss_ = loss
        e.loss_curve_.append(loss)

    def _penalty(self, network: Network) -> float:
        """Return ½ λ Σ w², averaged over the epoch's updates as if w² had changed evenly."""
        if not self.penalty:
            return 0.0
        before, self.squares = self.squares, _squares(network)
        share = (self.batches - 1) / (2 * self.batches)
        return 0.5 * self.penalty * (before + (self.squares - before) * share)

    def _validate(self, network: Network) -> bool:
        """Score the validation data; return whether that is an improvement."""
        e, validation = self.estimator, self.task.validation
        assert validation is not None
        outputs = predict(network, validation.x, e.threads)
        finite = bool(np.isfinite(outputs).all())
        score = self.task.score(outputs, validation) if finite else math.nan
        e.validation_scores_.append(score)
        if e.verbose:
            print(f"Validation score: {score:f}")
        improved = not score < e.best_validation_score_ + e.tol
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            self.best = network.get_parameters()
        return improved

    def _give_up(self) -> bool:
        """Stop, or go on with a lower rate; return whether to stop."""
        e = self.estimator
        what = "Training loss" if self.task.validation is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} "
            "consecutive epochs."
        )
        stops = True
        if e.solver == "sgd" and e.learning_rate == "adaptive":
            rate = self.optimizer.rate_at(self.optimizer.step) / self.scale
            stops = rate <= LEAST_RATE
            if stops:
                message += " Learning rate too small."
            else:
                self._set_rate(rate / 5)
                message += f" Setting learning rate to {rate / 5:f}"
        if e.verbose:
            print(message + " Stopping." if stops else message)
        return stops

    def _set_rate(self, rate: float) -> None:
        self.optimizer.learning_rate = rate * self.scale


def _take_over(
    estimator: Any, network: Network, last: Optimizer, optimizer: Optimizer
) -> Optimizer:
    """Return an optimiser that goes on from the `last` one, if it is of the same kind.

    Its hyperparameters are today's: the penalty depends on the size of the batches.
    """
    if type(last) is not type(optimizer) or not last.step:
        return optimizer
    if callable(last.learning_rate) or estimator.learning_rate in ("adaptive", "invscaling"):
        optimizer.learning_rate = last.learning_rate  # which follows the training so far
    if _fixed(last) == _fixed(optimizer):  # the state need not be copied
        last.learning_rate = optimizer.learning_rate
        return last
    optimizer.load_state_dict(network, last.state_dict())
    return optimizer


def _fixed(optimizer: Optimizer) -> dict[str, Any]:
    """Return the hyperparameters that an optimiser cannot change."""
    return {k: v for k, v in optimizer.__getstate__().items() if k != "_learning_rate"}


def _batch_size(value: Any, n: int) -> int:
    if value == "auto":
        return min(200, n)
    if value > n:
        warn(f"batch_size={value} is greater than the number of samples, {n}: {n} is used")
    return min(int(value), n)


def _squares(network: Network) -> float:
    """Return Σ w² over all weights, row after row: the same bits on every machine."""
    total = 0.0
    with np.errstate(over="ignore"):
        for w in network.weights:
            total += float(np.square(w.T, dtype=np.float64).sum(axis=0).cumsum()[-1])
    return total


def _power(base: float, exponent: float) -> float:
    """Return base ** exponent, from the core's functions: libm's bits depend on the machine."""
    log = _core.elementary("log", np.array([float(base)]))
    return float(_core.elementary("exp", exponent * log)[0])
