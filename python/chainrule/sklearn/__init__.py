"""Estimators for scikit-learn, ``MLPClassifier`` and ``MLPRegressor``, and ``from_sklearn``.

They take scikit-learn's own parameters by the same names and with the same defaults, give the same
attributes, and add what its perceptrons refuse: an activation a layer, dropout, class weights,
label smoothing, other losses, optimisers, schedules, progress and callbacks.

``from_sklearn`` makes a network of a fitted perceptron, scikit-learn's or one of these, and of the
scaling around it.

>>> from chainrule.sklearn import MLPClassifier
>>> model = MLPClassifier(hidden_layer_sizes=(100,), random_state=0)
>>> model.fit(X, y).score(X_test, y_test)  # doctest: +SKIP
"""

from __future__ import annotations

from chainrule.extras import require

# Before the modules that import names from it: who lacks scikit-learn is told which extra has it.
_version = require("sklearn", "sklearn").__version__
if tuple(map(int, _version.split(".")[:2])) < (1, 6):
    raise ImportError(
        f"chainrule.sklearn needs scikit-learn 1.6 or newer, found {_version}: "
        'pip install -U "chainrule[sklearn]"'
    )

from chainrule.sklearn.classifier import MLPClassifier  # noqa: E402
from chainrule.sklearn.load import from_sklearn  # noqa: E402
from chainrule.sklearn.regressor import MLPRegressor  # noqa: E402

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
