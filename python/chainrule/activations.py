"""One row per activation: what explanations, pictures, initialisation, ONNX and PyTorch need of it.

The core computes; this table is the rest. ``tests/test_tables.py`` fails for an activation of the
core that has no row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Node(NamedTuple):
    """An ONNX operator with its attributes; inputs are "z", or "1" for the first node's output."""

    operator: str
    attributes: Mapping[str, Any] = {}
    inputs: tuple[str, ...] = ("z",)


class Module(NamedTuple):
    """A class of ``torch.nn``, and the values that its arguments may have; the last one is ours."""

    name: str
    arguments: Mapping[str, tuple[Any, ...]] = {}


class Activation(NamedTuple):
    """What adapters need to know of an activation.

    Attributes
    ----------
    formula, slope : str
        g(z_j) and g'(z_j) in print. A subscript follows ``_``, a superscript ``^``.
    steepest : float
        The largest |g'|.
    onnx : tuple of Node
        The nodes that compute it, the last one its output; none for identity.
    torch : Module
    initializer : str
        What ``init="auto"`` draws for a layer with it.
    """

    formula: str
    slope: str
    steepest: float
    onnx: tuple[Node, ...]
    torch: Module
    initializer: str = "glorot_uniform"


# The scale and α of SELU (Klambauer et al., 2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

ACTIVATIONS = {
    "identity": Activation("z_j", "1", 1.0, (), Module("Identity")),
    "sigmoid": Activation(
        "1/(1 + exp(-z_j))", "a_j (1 - a_j)", 0.25, (Node("Sigmoid"),), Module("Sigmoid")
    ),
    "tanh": Activation("tanh(z_j)", "1 - a_j²", 1.0, (Node("Tanh"),), Module("Tanh")),
    "relu": Activation(
        "max(0, z_j)",
        "1 if z_j > 0 else 0",
        1.0,
        (Node("Relu"),),
        Module("ReLU"),
        "he_uniform",
    ),
    "leaky_relu": Activation(
        "z_j if z_j > 0 else 0.01 z_j",
        "1 if z_j > 0 else 0.01",
        1.0,
        (Node("LeakyRelu", {"alpha": 0.01}),),
        Module("LeakyReLU", {"negative_slope": (0.01,)}),
        "he_uniform",
    ),
    "elu": Activation(
        "z_j if z_j >= 0 else exp(z_j) - 1",
        "1 if z_j >= 0 else a_j + 1",
        1.0,
        (Node("Elu", {"alpha": 1.0}),),
        Module("ELU", {"alpha": (1.0,)}),
        "he_uniform",
    ),
    "selu": Activation(
        "λ z_j if z_j >= 0 else λα (exp(z_j) - 1)",
        "λ if z_j >= 0 else a_j + λα",
        SELU_SCALE * SELU_ALPHA,  # just below z = 0
        (Node("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),),
        Module("SELU"),
        "lecun_normal",
    ),
    "softplus": Activation(
        "ln(1 + exp(z_j))",
        "σ(z_j)",
        1.0,
        (Node("Softplus"),),
        Module("Softplus", {"beta": (1.0,)}),
        "he_uniform",
    ),
    "silu": Activation(
        "z_j σ(z_j)",
        "σ(z_j) (1 + z_j (1 - σ(z_j)))",
        1.0998393194498336,
        (Node("Sigmoid"), Node("Mul", {}, ("z", "1"))),
        Module("SiLU"),
        "he_uniform",
    ),
    "gelu": Activation(
        "z_j Φ(z_j)",
        "Φ(z_j) + z_j φ(z_j)",
        1.1289041451202072,
        (Node("Gelu", {"approximate": "none"}),),
        Module("GELU", {"approximate": ("none",)}),
        "he_uniform",
    ),
    "hardswish": Activation(
        "z_j min(max(z_j + 3, 0), 6)/6",
        "0 if z_j <= -3 else 1 if z_j >= 3 else (2 z_j + 3)/6",
        1.5,  # just below z = 3
        (Node("HardSwish"),),
        Module("Hardswish"),
    ),
    "softmax": Activation(
        "exp(z_j) / Σ_i exp(z_i)",
        "a_j (1 - a_j)",
        0.25,  # of the diagonal
        (Node("Softmax", {"axis": -1}),),
        Module("Softmax", {"dim": (1, -1)}),
    ),
}
