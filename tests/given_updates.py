"""A hundred given gradients in float64, and what PyTorch made of them: torch_updates.json.

    python tests/given_updates.py --write    run PyTorch and record

The gradients come from integer arithmetic and do not depend on the weights: rounding errors cannot
feed back, and no update hides behind a forward pass.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("torch_updates.json")
SHAPES = [(4, 3), (4,), (2, 4), (2,)]  # W^1, b^1, W^2, b^2 of the sizes 3, 4, 2
STEPS = 100
LEARNING_RATE = 0.01

#: name: (rule, its options, penalties and clipping)
CASES: dict[str, tuple[str, dict[str, Any], dict[str, float]]] = {
    "sgd": ("SGD", {}, {}),
    "momentum": ("SGD", {"momentum": 0.9}, {}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, {}),
    "adam": ("Adam", {}, {}),
    "adam_decay": ("Adam", {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.05}, {}),
    "adamw": ("AdamW", {}, {}),
    "adamw_decay": ("AdamW", {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}, {}),
    "rmsprop": ("RMSprop", {}, {}),
    "rmsprop_momentum": ("RMSprop", {"alpha": 0.9, "momentum": 0.9, "weight_decay": 0.05}, {}),
    "rmsprop_centered": ("RMSprop", {"alpha": 0.9, "eps": 1e-6, "centered": True}, {}),
    "rmsprop_all": ("RMSprop", {"momentum": 0.5, "weight_decay": 0.05, "centered": True}, {}),
    "adagrad": ("Adagrad", {}, {}),
    "adagrad_decay": ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.05, "eps": 1e-6}, {}),
    "adagrad_initial": ("Adagrad", {"initial_accumulator_value": 0.1}, {}),
    "l1": ("SGD", {}, {"l1": 0.01}),
    "l2": ("AdamW", {}, {"l2": 0.1}),
    "clip_value": ("Adam", {}, {"clip_value": 0.4}),
    "clip_norm": ("SGD", {"momentum": 0.9}, {"clip_norm": 2.8}),
    "treated": (
        "RMSprop",
        {"weight_decay": 0.05},
        {"l1": 0.01, "l2": 0.1, "clip_value": 0.9, "clip_norm": 2.5},
    ),
}


def arrays(step: int) -> list[np.ndarray]:
    """One array of each shape, of multiples of 2^-31 in [-1, 1)."""
    n = sum(map(np.prod, SHAPES))
    i = np.arange(n, dtype=np.uint64) + np.uint64(n * step)
    word = i * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
    parts = np.split(word.astype(float) * 2.0**-31 - 1, np.cumsum([np.prod(s) for s in SHAPES]))
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=False)]


def recorded() -> dict[str, list[float]]:
    """The parameters after STEPS updates, flat, by case."""
    return json.loads(FILE.read_text())


def by_torch(name: str) -> list[float]:
    """What PyTorch makes of the case."""
    import torch

    rule, options, treatment = CASES[name]
    theta = [torch.tensor(p, requires_grad=True) for p in arrays(0)]
    optimizer = getattr(torch.optim, rule)(theta, lr=LEARNING_RATE, **options)
    for step in range(1, STEPS + 1):
        for p, g in zip(theta, arrays(step), strict=True):
            w = p.detach() if p.ndim == 2 else torch.zeros_like(p)
            penalty = treatment.get("l2", 0.0) * w + treatment.get("l1", 0.0) * w.sign()
            p.grad = torch.tensor(g) + penalty
        if "clip_value" in treatment:
            torch.nn.utils.clip_grad_value_(theta, treatment["clip_value"])
        if "clip_norm" in treatment:
            torch.nn.utils.clip_grad_norm_(theta, treatment["clip_norm"])
        optimizer.step()
    return [value for p in theta for value in p.detach().ravel().tolist()]


def main(arguments: list[str]) -> int:
    if arguments != ["--write"]:
        print(__doc__)
        return 2
    lines = [f"{json.dumps(name)}: {json.dumps(by_torch(name))}" for name in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
