"""Golden bits: cases of golden.txt with the digests that every machine, ISA and release must give.

    python tests/golden.py           compare, under the ISA in use; exit 1 where any bit differs
    python tests/golden.py --write   run every case under the scalar ISA and write the digests

A line is a case, a colon and one CRC-32 a result. tests/cpp/golden.cpp runs the same file without
Python. Data come from integer arithmetic, never from functions whose bits may change with the CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import _core

FILE = Path(__file__).with_name("golden.txt")

ELEMENTARY = [
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "normal_cdf"),
    *("gelu", "gelu_derivative", "silu", "silu_derivative"),
]
#: Activations that came after the first cases have theirs at the end: the others stay as they are.
LATER = ["hardswish"]
HIDDEN = [g for g in _core.ACTIVATIONS if g not in ("softmax", *LATER)]
SIZES = ["1,1", "5,7,3", "2,33,1", "17,16,15,8", "100,65,40,12", "3,200,2", "9,4,2,5,1"]
LOSSES = {"softmax": ["cross_entropy", "huber"], "sigmoid": ["binary_cross_entropy", "mae"]}
FUSED = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
OPTIMIZERS = {
    "sgd": lambda: cr.SGD(0.05),
    "momentum": lambda: cr.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: cr.Adam(0.01, weight_decay=0.01),
    "adamw": lambda: cr.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: cr.RMSprop(0.01, momentum=0.9, centered=True),
    "adagrad": lambda: cr.Adagrad(0.05, lr_decay=0.01, initial_accumulator_value=0.1),
    "clipped": lambda: cr.SGD(
        0.05, momentum=0.5, l1=0.001, l2=0.01, clip_value=0.02, clip_norm=0.1
    ),
}


def cases() -> Iterator[str]:
    for dtype in ("float32", "float64"):
        for name in ELEMENTARY:
            yield f"elementary {dtype} {name}"
        for i, sizes in enumerate(SIZES):
            for j, output in enumerate([*HIDDEN, "softmax"]):
                n_hidden = sizes.count(",") - 1
                hidden = [HIDDEN[(i + j + k) % len(HIDDEN)] for k in range(n_hidden)]
                for loss in LOSSES.get(output, ["mse"]):
                    yield f"pass {dtype} {sizes} {','.join([*hidden, output])} {loss} rows=37"
        # Several chunks of samples, and rows enough for panels to be packed.
        yield f"pass {dtype} 300,260,6 gelu,softmax cross_entropy rows=290"
        for optimizer in OPTIMIZERS:
            for batch in (1, 7, 32, 300):
                for sizes in ("5,7,3", "40,33,10"):
                    yield (
                        f"train {dtype} {sizes} tanh,softmax cross_entropy rows=300 "
                        f"{optimizer} batch={batch} epochs=2"
                    )
            yield (
                f"train {dtype} 300,260,6 selu,softmax cross_entropy rows=290 "
                f"{optimizer} batch=290 epochs=1"
            )
        for output, loss in FUSED.items():
            yield (
                f"train {dtype} 40,33,10 tanh,{output} {loss} rows=50 "
                "sgd batch=7 epochs=1 smoothing=0.1"
            )
        for hidden in HIDDEN:
            for batch in (1, 7):
                yield (
                    f"train {dtype} 9,33,7,10 {hidden},tanh,softmax cross_entropy rows=20 "
                    f"sgd batch={batch} epochs=2 dropout=0.25,0.5"
                )
        yield (
            f"train {dtype} 40,260,70,6 relu,gelu,softmax cross_entropy rows=290 "
            "adam batch=290 epochs=1 smoothing=0.1 dropout=0,0.2"
        )
    for dtype in ("float32", "float64"):
        for name in LATER:
            for sizes in SIZES:
                yield f"pass {dtype} {sizes} {','.join([name] * sizes.count(','))} mse rows=37"
            yield (
                f"train {dtype} 9,33,7,10 {name},{name},softmax cross_entropy rows=20 "
                "sgd batch=1 epochs=2"
            )


def digest(*arrays: Any) -> str:
    total = 0
    for array in arrays:
        array = np.array(array, order="C")
        array[np.isnan(array)] = np.nan  # the payload and sign of a NaN are excluded
        total = zlib.crc32(array.tobytes(), total)
    return f"{total:08x}"


def uniform(rows: int, columns: int, dtype: str, stream: int) -> np.ndarray:
    """Multiples of 2^-31 in [-1, 1)."""
    i = np.arange(rows * columns, dtype=np.uint64) + np.uint64(stream << 20)
    word = i * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
    return (word.astype(float) * 2.0**-31 - 1).astype(dtype).reshape(rows, columns)


def patterns(dtype: str) -> np.ndarray:
    """2^16 numbers at equal distances over all bit patterns."""
    i = np.arange(2**16, dtype=np.uint64)
    if dtype == "float32":
        return (i * np.uint64(0x00010001)).astype(np.uint32).view(np.float32)
    return (i * np.uint64(0x0001000100010001)).view(np.float64)


def elementary(dtype: str, name: str) -> Iterator[str]:
    yield digest(_core.elementary(name, patterns(dtype)))


def network(dtype: str, sizes: str, activations: str, loss: str) -> cr.Network:
    widths = [int(n) for n in sizes.split(",")]
    net = cr.Network(widths, activations.split(","), loss, dtype=dtype, init="lecun_normal", seed=3)
    for i, b in enumerate(net.biases):
        b[...] = uniform(1, len(b), dtype, 3 + i)
    return net


def one_pass(dtype: str, sizes: str, activations: str, loss: str, rows: str) -> Iterator[str]:
    net, n = network(dtype, sizes, activations, loss), int(rows.removeprefix("rows="))
    x, y = uniform(n, net.sizes[0], dtype, 1), np.abs(uniform(n, net.sizes[-1], dtype, 2))
    with warnings.catch_warnings():  # of rows that do not sum to 1: their bits count here
        warnings.simplefilter("ignore", UserWarning)
        gradients = net.gradients(x, y, np.arange(1, n + 1))
    sums, dC_dx = net.vjp(x)[1](y)
    yield digest(net.predict(x))
    yield digest(gradients.cost, gradients.flatten())
    yield digest(sums.flatten(), dC_dx)


def train(
    dtype: str,
    sizes: str,
    activations: str,
    loss: str,
    rows: str,
    optimizer: str,
    batch: str,
    epochs: str,
    *regularization: str,
) -> Iterator[str]:
    net, n = network(dtype, sizes, activations, loss), int(rows.removeprefix("rows="))
    labels = np.arange(n) % net.sizes[-1]
    options = dict(option.split("=") for option in regularization)
    history = net.fit(
        uniform(n, net.sizes[0], dtype, 1),
        labels if loss == "cross_entropy" else np.eye(net.sizes[-1])[labels],
        batch_size=int(batch.removeprefix("batch=")),
        epochs=int(epochs.removeprefix("epochs=")),
        optimizer=OPTIMIZERS[optimizer](),
        label_smoothing=float(options.get("smoothing", 0)),
        dropout=[float(p) for p in options["dropout"].split(",")] if "dropout" in options else 0,
    )
    yield digest(net.get_parameters(), history.cost)


KINDS = {"elementary": elementary, "pass": one_pass, "train": train}


def run(case: str) -> str:
    kind, *arguments = case.split()
    return " ".join(KINDS[kind](*arguments))


def read() -> dict[str, str]:
    lines = FILE.read_text().splitlines()
    return dict(line.split(": ") for line in lines)


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        if _core.config()["isa"] != "scalar":
            scalar = {**os.environ, "CHAINRULE_ISA": "scalar"}
            return subprocess.run([sys.executable, __file__, "--write"], env=scalar).returncode
        FILE.write_text("".join(f"{case}: {run(case)}\n" for case in cases()))
        return 0
    golden = read()
    differing = [case for case in golden if run(case) != golden[case]]
    print(
        *differing,
        f"{_core.config()['isa']}: {len(golden)} cases, {len(differing)} differ",
        sep="\n",
    )
    return 1 if differing or set(golden) != set(cases()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
