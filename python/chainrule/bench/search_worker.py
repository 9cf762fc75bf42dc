"""The process of one peer's classifier: it searches the grid when it is asked to."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from .peers import PEERS
from .worker import serve, settle

GRID = {
    "hidden_layer_sizes": [(32,), (64,)],
    "alpha": [1e-4, 1e-2],
    "learning_rate_init": [1e-3, 1e-2],
}
FOLDS = 3


class Worker:
    """Answers the requests of the command, each by the method of that name."""

    def __init__(self, peer: str, threads: int) -> None:
        module = PEERS[peer].load()
        module.start(threads)
        self.classifier = module.search()
        self.selection = import_module("sklearn.model_selection")
        x, self.y = import_module("sklearn.datasets").load_digits(return_X_y=True)
        self.x = x / 16

    def search(self, epochs: int) -> dict[str, Any]:
        """Return the seconds of all fits, and what was found best.

        `epochs` are those of a fit at most: it ends when the loss gets no better, as it does by
        default in both.
        """
        model = self.classifier(max_iter=epochs, random_state=0)
        search = self.selection.GridSearchCV(model, GRID, cv=FOLDS, refit=False)
        start = time.perf_counter()
        search.fit(self.x, self.y)
        seconds = time.perf_counter() - start
        settle()
        scores = search.cv_results_["mean_test_score"]
        return {
            "seconds": seconds,
            "fits": len(scores) * FOLDS,
            "best_score": float(search.best_score_),
            "mean_score": float(scores.mean()),
            "best_parameters": search.best_params_,
        }


def main(peer: str, threads: int) -> None:
    """Serve the command."""
    serve(lambda: Worker(peer, threads), threads)
