"""chainrule, PyTorch and scikit-learn in one process, each with threads of its own."""

from __future__ import annotations

from itertools import permutations

import pytest

from support import run_python

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

pytest.importorskip("torch")
pytest.importorskip("sklearn")

SCRIPT = """
import importlib, multiprocessing, sys, zlib
from concurrent.futures import ThreadPoolExecutor

modules = {name: importlib.import_module(name) for name in sys.argv[1:]}
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 60)).astype(np.float32)
labels = (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def with_chainrule():
    import chainrule as cr
    net = cr.Network([60, 200, 2], ["tanh", "softmax"], "cross_entropy", seed=1)
    net.fit(x, labels, epochs=2, batch_size=500, learning_rate=0.1, threads=2)
    return zlib.crc32(net.get_parameters().tobytes() + net.predict(x, threads=2).tobytes())


def with_torch():
    import torch
    torch.set_num_threads(2)
    net = torch.nn.Sequential(torch.nn.Linear(60, 200), torch.nn.Tanh(), torch.nn.Linear(200, 2))
    descent = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(20):
        descent.zero_grad()
        cost = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(labels))
        cost.backward()
        descent.step()
    return np.isfinite(cost.item())


def with_sklearn():
    from sklearn.ensemble import HistGradientBoostingClassifier  # its loops are OpenMP's
    return HistGradientBoostingClassifier(max_iter=10).fit(x, labels).score(x, labels) > 0.7


trainers = {"chainrule": with_chainrule, "torch": with_torch, "sklearn": with_sklearn}
expected = with_chainrule()
for name in sys.argv[1:]:
    print(name, trainers[name]() == (expected if name == "chainrule" else True))
with ThreadPoolExecutor(3) as pool:  # all at once
    futures = {name: pool.submit(train) for name, train in trainers.items()}
    print("at once", futures["chainrule"].result() == expected,
          futures["torch"].result() and futures["sklearn"].result())
with multiprocessing.get_context("fork").Pool(1) as pool:
    print("after a fork", pool.apply_async(with_chainrule).get(60) == expected)
print("expected", expected)
"""


@pytest.fixture(scope="module")
def alone():
    """What chainrule trains where neither of the others is loaded."""
    return run_python("-c", SCRIPT.partition("trainers =")[0] + "print(with_chainrule())").strip()


@pytest.mark.parametrize(
    "order", list(permutations(["chainrule", "torch", "sklearn"])), ids="-".join
)
def test_all_three_train_in_one_process(order, alone):
    lines = run_python("-c", SCRIPT, *order, timeout=300).splitlines()
    assert lines == [
        *(f"{name} True" for name in order),
        "at once True True",
        "after a fork True",
        f"expected {alone}",
    ]
