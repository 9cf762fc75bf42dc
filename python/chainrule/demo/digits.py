"""``python -m chainrule demo``: handwritten digits, and the same mathematics in NumPy."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import __version__, _core
from chainrule.datasets import load_digits
from chainrule.demo.numpy_network import NumpyNetwork
from chainrule.network import Network

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from chainrule.training.history import History

SIZES = (64, 128, 10)
LEARNING_RATE = 0.2
BATCH_SIZE = 32
ROUNDS = 9


def run(epochs: int, seed: int, output: str) -> None:
    """Train, compare, explain and save, and print all of it."""
    train_x, train_y, test_x, test_y = load_digits()
    config = _core.config()
    print(f"chainrule {__version__}, {config['isa']} kernels, {config['num_threads']} threads")

    _title("Learning to read digits")
    print(f"{len(train_x)} images to train on, {len(test_x)} to test with, of 8 x 8 pixels each")
    net = _network(seed, np.float32)
    print(f"layers {' - '.join(map(str, SIZES))}, {' and '.join(net.activations)}, cost {net.loss}")
    print(f"gradient descent, batches of {BATCH_SIZE}, learning rate {LEARNING_RATE}\n")
    history = _train(net, (train_x, train_y), (test_x, test_y), epochs)
    accuracy = history.validation_metrics["accuracy"][-1]
    print(
        f"\ntest accuracy {accuracy:.1%}: {round(accuracy * len(test_x))} of {len(test_x)} right, "
        f"trained in {sum(history.seconds):.2f} s"
    )

    _title("The same in NumPy")
    print("Same data, initial weights and order of batches, in pure NumPy (numpy_network.py).")
    difference = _largest_difference(train_x, train_y, epochs, seed)
    print(f"float64: the costs of {epochs} epochs differ by at most {difference:.1e} of their size")
    ours, numpy = _seconds_per_epoch(train_x, train_y, seed)
    print(
        f"float32: {ours * 1e3:.2f} ms an epoch, NumPy {numpy * 1e3:.2f} ms: "
        f"{numpy / ours:.1f} times as fast (medians of {ROUNDS} rounds in turn)"
    )

    _title("One weight, by the chain rule")
    _explain(net, test_x.astype(np.float32), test_y)

    net.save(output)
    _title("The model")
    print(f"saved to {output}; to use it, with pixels 0..16 as x = (pixels - 5) / 6:\n")
    print("    import chainrule")
    print(f"    probabilities = chainrule.Network.load({output!r}).predict(x)")


def _title(text: str) -> None:
    print(f"\n{text}\n{'─' * len(text)}")


def _network(seed: int, dtype: DTypeLike) -> Network:
    return Network(SIZES, ["relu", "softmax"], "cross_entropy", dtype=dtype, seed=seed)


def _train(net: Network, train: Any, test: Any, epochs: int) -> History:
    print("epoch       cost  test cost  test accuracy")

    def report(net: Network, history: History) -> None:
        cost, test_cost = history.cost[-1], history.validation_cost[-1]
        accuracy = history.validation_metrics["accuracy"][-1]
        print(f"{net.epoch:>5}  {cost:>9.6f}  {test_cost:>9.6f}  {accuracy:>13.1%}", flush=True)

    return net.fit(
        *train,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        validation_data=test,
        callbacks=[report],
    )


def _numpy_epoch(
    net: Network, twin: NumpyNetwork, x: NDArray[Any], y: NDArray[Any], epoch: int
) -> float:
    order = _core.permutation(net.seed, epoch, len(x))
    return twin.epoch(x, y, order, BATCH_SIZE, LEARNING_RATE)


def _largest_difference(x: NDArray[Any], y: NDArray[Any], epochs: int, seed: int) -> float:
    net = _network(seed, np.float64)
    twin = NumpyNetwork(net.weights, net.biases)
    theirs = np.array([_numpy_epoch(net, twin, x, y, epoch) for epoch in range(epochs)])
    history = net.fit(x, y, epochs=epochs, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)
    return float(np.max(np.abs(history.cost - theirs) / theirs))


def _seconds_per_epoch(x: NDArray[Any], y: NDArray[Any], seed: int) -> tuple[float, float]:
    """Time epochs of both in turn, so that a machine that slows down slows both."""
    net = _network(seed, np.float32)
    twin = NumpyNetwork(net.weights, net.biases)
    x = x.astype(np.float32)
    ours, numpy = [], []
    for epoch in range(ROUNDS):
        start = perf_counter()
        net.fit(x, y, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)
        middle = perf_counter()
        _numpy_epoch(net, twin, x, y, epoch)
        ours.append(middle - start)
        numpy.append(perf_counter() - middle)
    return median(ours), median(numpy)


def _explain(net: Network, x: NDArray[Any], y: NDArray[Any]) -> None:
    """Explain the weight of layer 1 that the most doubtful test image wants to change most."""
    outputs = net.predict(x)
    i = int(np.argmin(outputs[np.arange(len(y)), y]))
    print(f"test image {i}, labelled {y[i]}: the network takes it for {outputs[i].argmax()}\n")
    for row in np.rint(3 * x[i] + 2.5).astype(int).reshape(8, 8):
        print("    " + "".join(2 * " .:-=+*#%"[ink] for ink in row).rstrip())
    gradient = net.gradients(x[i], y[i]).weights[0]
    j, k = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
    explanation = net.explain(x[i], y[i], layer=1, to=int(j), from_=int(k))
    same = "the same bits" if explanation.gradient == gradient[j, k] else "NOT the same bits"
    print(f"\n{explanation}\n\n{same} as gradients(x, y).weights[0][{j}, {k}]")
