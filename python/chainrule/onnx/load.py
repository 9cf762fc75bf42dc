"""An ONNX model as a network, if a multilayer perceptron is what it computes."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.agreement import verify
from chainrule.extras import require
from chainrule.network import Network
from chainrule.onnx import files
from chainrule.onnx.interpret import Graph, Interpretation, starts
from chainrule.onnx.rows import Rows
from chainrule.onnx.verify import original

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


logger = logging.getLogger("chainrule")


def from_onnx(
    model: Any,
    *,
    output: str | None = None,
    loss: str | None = None,
    dtype: DTypeLike | None = None,
) -> Network:
    """Return the network that an ONNX model computes.

    Understood are Gemm and MatMul with Add, the activations of chainrule as PyTorch, Keras
    (tf2onnx) and skl2onnx write them (GELU through Erf, SiLU as x · Sigmoid(x) and the like),
    scalings by constants before, between and after layers, BatchNormalization and skl2onnx's
    Scaler, all folded into weights, and what leaves rows as they are (Cast, Identity, Dropout,
    Flatten, Reshape).

    The model is run beside the network before it is returned, by ONNX's reference implementation
    in float64, and every tensor that an activation gives is compared.

    Parameters
    ----------
    model : onnx.ModelProto, path or bytes
        Or what ``SerializeToString`` of a model gives. Data in other files are read only for a
        path: from regular files in the folder of the model or below it, and through no symbolic
        link.
    output : str, optional
        Which output to take. By default the one that is a network's, if all others are functions
        of it alone: the probabilities of a classifier of scikit-learn, for instance, beside its
        labels.
    loss : str, optional
        The network's loss; by default the one that ``to_onnx`` noted, else cross_entropy after
        softmax, binary_cross_entropy after sigmoid, half_mse otherwise.
    dtype : {"float32", "float64"}, optional
        By default that of the model's weights, float32 for halves.

    Returns
    -------
    Network
        Its outputs equal the model's within rounding; a binary classifier of skl2onnx gets a
        softmax over its two classes.

    Raises
    ------
    ValueError
        If the model computes something else (the message names the first node in the way), has
        several outputs of which none may be chosen unasked (the message lists them), answers
        otherwise than the network does, or is damaged.
    TypeError, OSError, ImportError
        If `model` is no model, cannot be read, or the package onnx is missing.

    Warns
    -----
    UserWarning
        If the model could not be run beside the network.
    """
    onnx = require("onnx", "onnx")
    for name, value in (("output", output), ("loss", loss)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {type(value).__name__}")
    model = files.read(onnx, model)
    graph = Graph(onnx, model)
    if output is not None and output not in graph.outputs:
        raise ValueError(f"output must be one of {', '.join(graph.outputs)}, got {output!r}")
    with np.errstate(all="ignore"):  # what is not finite is refused
        found, output = _chosen(graph, output)
        rows = found.values[output]
        assert isinstance(rows, Rows)
        dtype = _dtype(found, output) if dtype is None else dtype
        noted = _noted_loss(model) if loss is None else None
        try:
            network = Network.from_arrays(
                *rows.stack.arrays(), loss or noted, rows="outputs", dtype=dtype, seed=0
            )
        except ValueError as error:
            if noted is None:
                raise
            raise ValueError(
                f"{error}; the loss is what the model's metadata entry 'chainrule' states: pass "
                "loss='…' for another"
            ) from error
    dropped = [name for name in graph.outputs if name != output]
    logger.info("took the output %s of the model, dropped %s", output, dropped or "none")
    verify(network, rows.stack, found.tensors(output), original(found, output))
    return network


def _chosen(graph: Graph, output: str | None) -> tuple[Interpretation, str]:
    """Return the first reading of the graph in which an output can be taken, and that output."""
    nodes = graph.needed(graph.outputs if output is None else [output])
    reasons: dict[str, None] = {}
    for start in starts(graph, nodes):
        found = Interpretation(graph, start, nodes)
        try:
            name = _choice(found) if output is None else output
            reason = _obstacle(found, name)
            if reason is None:
                nodes = graph.needed([name])
                same = len(nodes) == len(found.nodes)
                return found if same else Interpretation(graph, start, nodes), name
            reasons[f"output {name} is no multilayer perceptron's: {reason}"] = None
        except ValueError as error:
            reasons[str(error)] = None
    raise ValueError("; or, with a row along the last axis alone, ".join(reasons) or (
        f"the shape of input {graph.input.name!r} must be (batch, a known number)"
    ))  # fmt: skip


def _obstacle(found: Interpretation, name: str) -> str | None:
    """Return what stands in the way of taking an output."""
    value = found.refused_or_rows(name)
    if isinstance(value, str):
        return value
    try:
        value.stack.complete()
    except ValueError as error:
        return str(error)
    return None


def _choice(found: Interpretation) -> str:
    """Return the only output that is a network's, if all others are functions of it."""
    names: list[str] = found.graph.outputs
    obstacles = {name: _obstacle(found, name) for name in names}
    free = [name for name, obstacle in obstacles.items() if obstacle is None]
    if len(names) == 1 or (len(free) == 1 and _functions_of(found, free[0]).issuperset(names)):
        return (free or names)[0]
    lines = [
        f"  {name!r} ({_width(found, name)}): {obstacles[name] or 'can be taken'}" for name in names
    ]
    raise ValueError(
        "the model has several outputs, of which none is taken unasked: pass output='…' with the "
        "name of one that can be taken\n" + "\n".join(lines)
    )


def _functions_of(found: Interpretation, name: str) -> set[str]:
    """Return the tensors that depend on the input through the numbers of this one alone."""
    taken = found.values[name]
    assert isinstance(taken, Rows)
    known = {*found.graph.constants}
    for node in found.nodes:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            continue  # an inner graph may take any tensor
        for output in filter(None, node.output):
            value = found.values[output]
            same = isinstance(value, Rows) and value.stack is taken.stack
            if same or all(operand in known for operand in node.input if operand):
                known.add(output)
    return known


def _width(found: Interpretation, name: str) -> str:
    """Return the number of elements in a row of an output, for a message."""
    value = found.values.get(name)
    if isinstance(value, Rows):
        return f"width {value.width}"
    for entry in found.graph.model.graph.output:
        shape = entry.type.tensor_type.shape.dim
        if entry.name == name and len(shape) > 1 and all(d.dim_value > 0 for d in shape[1:]):
            return f"width {np.prod([d.dim_value for d in shape[1:]], dtype=object)}"
        if entry.name == name and len(shape) == 1:
            return "one number for each row"
    return "of unknown width"


def _dtype(found: Interpretation, output: str) -> str:
    """Return float64 if some of the weights are."""
    for node in found.graph.needed([output]):
        if node.op_type in ("Gemm", "MatMul"):
            for name in node.input:
                value = found.values.get(name)
                if isinstance(value, np.ndarray) and value.dtype == np.float64:
                    return "float64"
    return "float32"


def _noted_loss(model: Any) -> str | None:
    """Return the loss that ``to_onnx`` noted."""
    noted = {entry.key: entry.value for entry in model.metadata_props}.get("chainrule")
    if noted is None:
        return None
    try:
        loss = json.loads(noted)["loss"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"the model's metadata entry 'chainrule' states no loss ({error!r}): pass loss='…'"
        ) from error
    if not isinstance(loss, str):
        raise ValueError(
            f"the model's metadata entry 'chainrule' states the loss {loss!r}: pass loss='…'"
        )
    return loss
