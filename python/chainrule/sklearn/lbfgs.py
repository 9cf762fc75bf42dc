"""solver="lbfgs": SciPy's L-BFGS over the network's flat vector of parameters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from chainrule.network import Network
from chainrule.sklearn import poisson
from chainrule.sklearn.data import Task
from chainrule.warning import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.gradients import Gradients


def train(estimator: Any, network: Network, task: Task) -> None:
    """Minimise the cost of all samples with the penalty ½ (alpha / Σ weight) Σ w².

    The search runs in float64 whatever the network's dtype is: a line search compares costs
    that differ by less than float32 can tell.
    """
    if np.any(estimator.dropout):
        raise ValueError(f"dropout={estimator.dropout} needs a stochastic solver: lbfgs is not")
    objective = Objective(estimator, network, task)
    iterations = 0

    def report(_: NDArray[np.float64]) -> None:
        nonlocal iterations
        iterations += 1
        print(f"Iteration {iterations}, loss = {objective.loss:.8f}")

    result = minimize(
        objective,
        network.get_parameters().astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        callback=report if estimator.verbose else None,
        options={
            "maxfun": estimator.max_fun,
            "maxiter": estimator.max_iter,
            "gtol": estimator.tol,
        },
    )
    if not np.isfinite(result.x).all():
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain large "
            "values and need to be preprocessed."
        )
    if result.status:
        warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) and {result.nfev} function "
            f"calls: {result.message}. Increase max_iter or max_fun, or scale the data to mean 0 "
            "and standard deviation 1",
            ConvergenceWarning,
        )
    objective(result.x)
    network.set_parameters(result.x)
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    estimator.loss_ = objective.loss
    estimator.t_ = getattr(estimator, "t_", 0)


class Objective:
    """The function to minimise: parameters -> cost and gradient."""

    def __init__(self, estimator: Any, network: Network, task: Task) -> None:
        self.network = Network(
            network.sizes, network.activations, network.loss, dtype=np.float64, init="zeros", seed=0
        )
        self.samples, weight = task.samples, task.samples.weight
        self.total = float(len(task.samples.y) if weight is None else weight.sum())
        self.scale, self.shown = task.scale, task.shown
        ones = (
            part
            for w, b in zip(self.network.weights, self.network.biases, strict=True)
            for part in (np.ones(w.size), np.zeros(b.size))
        )
        self.penalty = np.concatenate(list(ones)) * (estimator.alpha / self.total)
        self.gradients: Callable[..., Gradients] = partial(
            self.network.gradients, **task.regularization
        )
        if estimator.loss == "poisson":
            self.gradients = partial(poisson.gradients, self.network)
        self.loss = np.inf

    def __call__(self, v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the cost at the flat vector `v`, and its gradient."""
        x, y, weight = self.samples
        self.network.set_parameters(v)
        g = self.gradients(x, y, weight)
        cost, gradient = float(g.cost or 0.0), g.flatten().astype(np.float64)
        penalty = self.penalty * v
        half = 0.5 * float(penalty @ v)
        self.loss = self.shown * cost + half
        return self.scale * cost + half, self.scale * gradient + penalty
