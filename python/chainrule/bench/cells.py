"""What is measured: every network, every batch, one line a cell."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Cell:
    """One piece of work. All hidden layers of its network have the same activation.

    `samples` are those of a call: the batch of an inference, the epoch of a training.
    """

    kind: str  # inference, training-sgd or training-adam
    family: str
    sizes: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    batch: int
    samples: int
    dtype: str = "float32"
    threads: int = 1

    @property
    def name(self) -> str:
        """``inference/policy-48-64-64-12/b16/float32/t1``."""
        net = "-".join(map(str, (self.family, *self.sizes)))
        return f"{self.kind}/{net}/b{self.batch}/{self.dtype}/t{self.threads}"

    @property
    def training(self) -> bool:
        """Whether parameters change."""
        return self.kind != "inference"

    @property
    def depth(self) -> int:
        """Layers with weights."""
        return len(self.sizes) - 1

    @property
    def steps(self) -> int:
        """Updates of one call; 1 for inference. Times are given per step."""
        return self.samples // self.batch

    @property
    def learning_rate(self) -> float:
        """η: large enough to see a wrong gradient, small enough to stay near the start."""
        if self.kind == "training-adam":
            return 1e-3
        return 1e-2 * (self.sizes[-1] ** 0.5 if self.loss == "half_mse" else 1.0)

    @property
    def products(self) -> tuple[int, ...]:
        """n_l n_{l-1} for every layer."""
        return tuple(a * b for a, b in zip(self.sizes[1:], self.sizes, strict=False))

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all weights and biases."""
        count = sum(self.products) + sum(self.sizes[1:])
        return count * (4 if self.dtype == "float32" else 8)

    @property
    def flops(self) -> int:
        """Operations of one step in its matrix products, two for each multiply-add.

        Inference has one product per layer. Training has three, but for the first layer two: nobody
        needs the derivative with respect to the data.
        """
        products = sum(self.products)
        if self.training:
            products = 3 * products - self.products[0]
        return 2 * products * self.batch

    @property
    def bytes_read(self) -> int:
        """Bytes that one step cannot but read: parameters forward, again backward, Adam's state."""
        times = {"inference": 1, "training-sgd": 2, "training-adam": 4}
        return times[self.kind] * self.parameter_bytes


# Networks: family, sizes, activation of the hidden layers and of the output, loss.
TINY = ("tiny", (5, 7, 3), "sigmoid", "sigmoid", "half_mse")
POLICY = ("policy", (48, 64, 64, 12), "tanh", "identity", "half_mse")
DIGITS_30 = ("digits", (784, 30, 10), "sigmoid", "sigmoid", "half_mse")
DIGITS_100 = ("digits", (784, 100, 10), "relu", "softmax", "cross_entropy")
DIGITS_128 = ("digits", (784, 128, 10), "relu", "softmax", "cross_entropy")
FASHION = ("fashion", (784, 256, 128, 10), "relu", "softmax", "cross_entropy")
RANKING_512 = ("ranking", (256, 512, 256, 1), "relu", "identity", "half_mse")
RANKING_500 = ("ranking", (300, 500, 200, 1), "relu", "identity", "half_mse")
WIDE_4096 = ("wide", (1024, 4096, 1024), "relu", "identity", "half_mse")
WIDE_3000 = ("wide", (1000, 3000, 1000), "relu", "identity", "half_mse")
WIDE_2000 = ("wide", (1000, 2000, 1000), "relu", "identity", "half_mse")
DEEP = ("deep", (300, 300, 300, 300, 300, 300, 10), "relu", "softmax", "cross_entropy")
ODD_33 = ("odd", (33, 7, 33, 100), "tanh", "identity", "half_mse")
ODD_100 = ("odd", (100, 100, 100), "sigmoid", "sigmoid", "half_mse")
ODD_300 = ("odd", (300, 33, 7), "relu", "softmax", "cross_entropy")
ODD_1000 = ("odd", (1000, 1000, 7), "tanh", "identity", "half_mse")
ODD_7 = ("odd", (7, 33, 100, 300, 1000), "relu", "identity", "half_mse")

Net = tuple[str, tuple[int, ...], str, str, str]


def inference(net: Net, batch: int, dtype: str = "float32", threads: int = 1) -> Cell:
    """Return the cell of one call."""
    return Cell("inference", *net, batch, batch, dtype, threads)


def sgd(net: Net, batch: int, samples: int, dtype: str = "float32", threads: int = 1) -> Cell:
    """Return the cell of one epoch of plain gradient descent."""
    return Cell("training-sgd", *net, batch, samples, dtype, threads)


def adam(net: Net, batch: int, samples: int, dtype: str = "float32", threads: int = 1) -> Cell:
    """Return the cell of one epoch of Adam."""
    return Cell("training-adam", *net, batch, samples, dtype, threads)


CELLS = (
    inference(TINY, 1),
    inference(TINY, 16),
    inference(TINY, 1024),
    inference(POLICY, 1),
    inference(POLICY, 16),
    inference(POLICY, 256),
    inference(DIGITS_100, 1),
    inference(DIGITS_100, 32),
    inference(DIGITS_128, 1),
    inference(DIGITS_128, 32),
    inference(DIGITS_128, 256),
    inference(DIGITS_128, 4096),
    inference(RANKING_500, 1),
    inference(RANKING_500, 100),
    inference(RANKING_500, 4096),
    inference(RANKING_512, 1),
    inference(RANKING_512, 100),
    inference(RANKING_512, 4096),
    inference(WIDE_3000, 1),
    inference(WIDE_3000, 8),
    inference(WIDE_3000, 256),
    inference(WIDE_4096, 1),
    inference(WIDE_4096, 32),
    inference(WIDE_4096, 256),
    inference(DEEP, 1),
    inference(DEEP, 64),
    inference(DEEP, 1024),
    inference(ODD_33, 1),
    inference(ODD_33, 16384),
    inference(ODD_100, 7),
    inference(ODD_100, 100),
    inference(ODD_300, 100),
    inference(ODD_1000, 1),
    inference(ODD_1000, 7),
    inference(ODD_7, 7),
    inference(POLICY, 1, "float64"),
    inference(DIGITS_128, 32, "float64"),
    inference(RANKING_500, 100, "float64"),
    inference(WIDE_3000, 8, "float64"),
    inference(ODD_33, 16384, "float64"),
    inference(DIGITS_128, 4096, threads=2),
    inference(RANKING_512, 4096, threads=2),
    inference(WIDE_3000, 256, threads=2),
    inference(DEEP, 1024, threads=2),
    sgd(TINY, 1, 2000),
    sgd(DIGITS_30, 1, 1000),
    sgd(DIGITS_30, 10, 1000),
    sgd(DIGITS_100, 64, 2560),
    sgd(DIGITS_100, 10_000, 10_000),
    sgd(DIGITS_128, 1, 500),
    sgd(DIGITS_128, 10, 1000),
    sgd(DIGITS_128, 32, 1280),
    sgd(DIGITS_128, 64, 2560),
    sgd(DIGITS_128, 128, 2560),
    sgd(DIGITS_128, 256, 2560),
    sgd(POLICY, 64, 6400),
    sgd(RANKING_500, 100, 2000),
    sgd(RANKING_512, 100, 2000),
    sgd(WIDE_2000, 1, 50),
    sgd(WIDE_2000, 250, 500),
    sgd(DIGITS_100, 64, 2560, "float64"),
    sgd(POLICY, 64, 6400, "float64"),
    sgd(DIGITS_100, 10_000, 10_000, threads=2),
    sgd(RANKING_500, 100, 2000, threads=2),
    sgd(WIDE_2000, 250, 500, threads=2),
    adam(POLICY, 64, 6400),
    adam(DIGITS_128, 100, 2000),
)

#: Cells of a run with ``--quick``.
QUICK = (
    inference(TINY, 1),
    inference(POLICY, 16),
    inference(DIGITS_100, 32),
    sgd(TINY, 1, 2000),
    sgd(POLICY, 64, 6400),
)

#: Networks whose single calls are timed one by one.
LATENCY = (inference(TINY, 1), inference(POLICY, 1), inference(DIGITS_128, 1))


def select(pattern: str, cells: tuple[Cell, ...] = CELLS) -> tuple[Cell, ...]:
    """Return the cells whose names match a shell pattern; ValueError if none does."""
    chosen = tuple(cell for cell in cells if fnmatchcase(cell.name, pattern))
    if not chosen:
        raise ValueError(f"no cell matches {pattern!r}; --list prints all {len(cells)} names")
    return chosen
