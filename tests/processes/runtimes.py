"""Beside a package that starts OpenMP threads too: python runtimes.py IMPORT IMPORT, in this order.

Imports are chainrule, torch and sklearn. One copy of an OpenMP runtime may serve both or each may
have its own: the order decides.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np


class Torch:
    def __init__(self, torch: ModuleType) -> None:
        torch.set_num_threads(2)
        self.a = torch.linspace(-1, 1, 500 * 500).reshape(500, 500)
        self.tanh = torch.tanh
        self.product = self.a.double().numpy() @ self.a.double().numpy()

    def work(self) -> None:
        np.testing.assert_allclose((self.a @ self.a).numpy(), self.product, atol=1e-3)
        np.testing.assert_allclose(self.tanh(self.a).numpy(), np.tanh(self.a.numpy()), atol=1e-6)


class Sklearn:
    def __init__(self, _: ModuleType) -> None:
        from sklearn.cluster import KMeans
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits

        self.limits = threadpool_limits(2, user_api="openmp")
        self.trees = HistGradientBoostingClassifier(max_iter=5, random_state=0)
        self.clusters = KMeans(2, n_init=1, random_state=0)
        self.x = np.random.default_rng(1).normal(size=(2000, 10))
        self.y = np.arange(2000) >= 1000
        self.x[:, 0] = 100 * self.y

    def work(self) -> None:
        assert self.trees.fit(self.x, self.y).score(self.x, self.y) == 1
        labels = self.clusters.fit_predict(self.x)
        assert np.array_equal(labels == labels[-1], self.y)


if __name__ == "__main__":
    imported = {name: importlib.import_module(name) for name in sys.argv[1:]}
    from problem import Work, busy, exit_code, fork, thread_count

    others = {"torch": Torch, "sklearn": Sklearn}
    (name,) = others.keys() & imported.keys()
    alone = thread_count()
    other = others[name](imported[name])
    other.work()
    assert thread_count() > alone  # its runtime runs
    work = Work()
    for _ in range(3):
        other.work()
        assert work.is_right()
        assert exit_code(fork(work.is_right)) == 0
    with busy(other.work):
        for _ in range(5):
            assert work.is_right()
        assert exit_code(fork(work.is_right)) == 0
    other.work()
    print("ok")
