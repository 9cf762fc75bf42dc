"""ONNX models out and in: against ONNX Runtime, and as PyTorch, Keras and skl2onnx write them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from support import relative

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")
ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from chainrule.onnx import from_onnx, to_onnx  # noqa: E402

helper, numpy_helper = onnx.helper, onnx.numpy_helper
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4)).astype(np.float32)
FLOAT = onnx.TensorProto.FLOAT


def run(model, x, output=None):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = None if output is None else [output]
    return session.run(names, {session.get_inputs()[0].name: x})[0]


def model_of(nodes, constants, n_in=4, output="y", **opset):
    """A model from x (n, n_in) to `output`."""
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("x", FLOAT, ["n", n_in])],
        [helper.make_tensor_value_info(output, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_onnx_runtime_gives_our_outputs(activation):
    hidden = "tanh" if activation == "softmax" else activation
    net = cr.Network([4, 33, 7, 5], activations=[hidden, hidden, activation], seed=1)
    assert relative(run(to_onnx(net), X), net.predict(X)) < 1e-6


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "relu", "silu", "softmax"])
def test_onnx_runtime_gives_our_outputs_in_float64(activation):
    net = cr.Network([4, 9, 5], activations=["tanh", activation], dtype="float64", seed=1)
    x = X.astype(np.float64)
    assert relative(run(to_onnx(net), x), net.predict(x)) < 1e-13


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_what_goes_out_comes_back_bit_for_bit(activation, dtype, bias):
    hidden = "gelu" if activation == "softmax" else activation
    loss = "cross_entropy" if activation == "softmax" else "huber"
    net = cr.Network(
        [4, 6, 3], activations=[hidden, activation], loss=loss, dtype=dtype, bias=bias, seed=2
    )
    back = from_onnx(to_onnx(net))
    assert (back.activations, back.loss, back.dtype) == (net.activations, loss, net.dtype)
    assert back.has_bias == bias
    np.testing.assert_array_equal(back.get_parameters(), net.get_parameters())


def test_a_model_is_read_from_path_bytes_and_object(tmp_path):
    net = cr.Network([4, 3], seed=0)
    model, path = to_onnx(net), tmp_path / "m.onnx"
    onnx.save(model, path)
    for source in (path, str(path), model.SerializeToString(), model):
        np.testing.assert_array_equal(from_onnx(source).get_parameters(), net.get_parameters())


# What others write


GELU_ORDERS = {
    "PyTorch": [
        node("Div", "z root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "s"),
        node("Mul", "z s", "p"),
        node("Mul", "p half", "y"),
    ],
    "the half first": [
        node("Mul", "half z", "h"),
        node("Mul", "z inverse", "d"),
        node("Erf", "d", "e"),
        node("Add", "one e", "s"),
        node("Mul", "h s", "y"),
    ],
    "the half with the error function": [
        node("Div", "z root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "s"),
        node("Mul", "s half", "f"),
        node("Mul", "f z", "y"),
    ],
}


@pytest.mark.parametrize("order", GELU_ORDERS)
def test_gelu_through_the_error_function(order):
    constants = {
        "w": array(4, 5),
        "b": array(5),
        "root": np.float32(np.sqrt(2)),
        "inverse": np.float32(np.sqrt(0.5)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    start = [node("MatMul", "x w", "m"), node("Add", "m b", "z")]
    model = model_of([*start, *GELU_ORDERS[order]], constants)
    net = from_onnx(model)
    assert net.activations == ("gelu",)
    assert relative(net.predict(X), run(model, X)) < 1e-6


def test_keras_writes_matmul_and_add():
    """As tf2onnx exports Dense layers: weights k-major, names of scopes, Identity at the end."""
    nodes = [
        node("MatMul", "x dense/MatMul/ReadVariableOp:0", "dense/MatMul:0"),
        node("Add", "dense/MatMul:0 dense/BiasAdd/ReadVariableOp:0", "dense/BiasAdd:0"),
        node("Relu", "dense/BiasAdd:0", "dense/Relu:0"),
        node("MatMul", "dense/Relu:0 dense_1/MatMul/ReadVariableOp:0", "dense_1/MatMul:0"),
        node("Add", "dense_1/MatMul:0 dense_1/BiasAdd/ReadVariableOp:0", "dense_1/BiasAdd:0"),
        node("Softmax", "dense_1/BiasAdd:0", "dense_1/Softmax:0"),
        node("Identity", "dense_1/Softmax:0", "y"),
    ]
    constants = {
        "dense/MatMul/ReadVariableOp:0": array(4, 6),
        "dense/BiasAdd/ReadVariableOp:0": array(6),
        "dense_1/MatMul/ReadVariableOp:0": array(6, 3),
        "dense_1/BiasAdd/ReadVariableOp:0": array(3),
    }
    model = model_of(nodes, constants)
    net = from_onnx(model)
    assert (net.sizes, net.activations) == ((4, 6, 3), ("relu", "softmax"))
    assert net.loss == "cross_entropy"
    assert relative(net.predict(X), run(model, X)) < 1e-6


def test_scalings_and_normalisations_are_folded_into_weights():
    nodes = [
        node("Sub", "x mean", "centred"),
        node("Div", "centred deviation", "scaled"),
        node("Transpose", "wt", "w", perm=[1, 0]),  # of a constant
        node("Gemm", "scaled w c", "z", alpha=0.5, beta=2.0),
        node("BatchNormalization", "z g s m v", "n", epsilon=1e-3),
        node("Tanh", "n", "a"),
        node("Gemm", "a w2", "z2"),
        node("Mul", "z2 unit", "u"),
        node("Add", "u offset", "y"),
    ]
    constants = {
        "mean": array(4),
        "deviation": np.abs(array(4)) + 1,
        "wt": array(5, 4),
        "c": array(1, 5),
        "g": array(5),
        "s": array(5),
        "m": array(5),
        "v": np.abs(array(5)) + 1,
        "w2": array(5, 2),
        "unit": np.float32(100),
        "offset": np.float32([3, 4]),
    }
    model = model_of(nodes, constants)
    net = from_onnx(model)
    assert net.activations == ("tanh", "identity")
    assert relative(net.predict(X), run(model, X)) < 1e-6


def test_a_scaling_behind_the_last_activation_becomes_a_layer():
    nodes = [node("Gemm", "x w", "z"), node("Sigmoid", "z", "a"), node("Mul", "a ten", "y")]
    model = model_of(nodes, {"w": array(4, 3), "ten": np.float32(10)})
    net = from_onnx(model)
    assert net.activations == ("sigmoid", "identity")
    assert relative(net.predict(X), run(model, X)) < 1e-6


def test_halves_become_float32():
    w = array(4, 3).astype(np.float16)
    model = model_of([node("MatMul", "x w", "y")], {"w": w})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    net = from_onnx(model)
    assert net.dtype == np.float32
    np.testing.assert_array_equal(net.weights[0], w.T.astype(np.float32))


def test_an_input_of_unknown_width_takes_it_from_the_weights():
    model = model_of([node("Gemm", "x w", "y", transB=1)], {"w": array(3, 4)}, n_in="features")
    assert from_onnx(model).sizes == (4, 3)


def skl2onnx_of(estimator, y, **options):
    pytest.importorskip("sklearn")
    skl2onnx = pytest.importorskip("skl2onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return skl2onnx.to_onnx(estimator.fit(X, y), X[:1], **options)


SKLEARN_TARGETS = {
    "three classes": np.arange(40) % 3,
    "two classes": np.arange(40) % 2,
    "multi-label": (X[:, :3] > 0).astype(int),
}


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("targets", SKLEARN_TARGETS)
def test_classifiers_of_scikit_learn(targets, activation):
    network = pytest.importorskip("sklearn.neural_network")
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline
    estimator = pipeline(
        scaler,
        network.MLPClassifier(
            hidden_layer_sizes=(6,), activation=activation, max_iter=3, random_state=0
        ),
    )
    model = skl2onnx_of(estimator, SKLEARN_TARGETS[targets], options={"zipmap": False})
    net = from_onnx(model)
    assert relative(net.predict(X), estimator.predict_proba(X)) < 1e-5
    assert relative(net.predict(X), run(model, X, "probabilities")) < 1e-5


def test_a_classifier_with_zipmap():
    network = pytest.importorskip("sklearn.neural_network")
    estimator = network.MLPClassifier(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
    model = skl2onnx_of(estimator, np.arange(40) % 3)
    assert relative(from_onnx(model).predict(X), estimator.predict_proba(X)) < 1e-5


def test_a_regressor_of_scikit_learn():
    network = pytest.importorskip("sklearn.neural_network")
    scaler = pytest.importorskip("sklearn.preprocessing").MinMaxScaler()
    pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline
    estimator = pipeline(
        scaler, network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
    )
    model = skl2onnx_of(estimator, X[:, 0])
    assert relative(from_onnx(model).predict(X)[:, 0], estimator.predict(X)) < 1e-5


# What is refused


REFUSED = {
    "an unknown operator": (
        [node("Gemm", "x w", "z"), node("Sin", "z", "s", name="wave"), node("Tanh", "s", "y")],
        r"node 'wave' \(Sin\) is not understood",
    ),
    "a slope of its own": (
        [node("Gemm", "x w", "z"), node("LeakyRelu", "z", "y", alpha=0.2)],
        r"\(LeakyRelu\) has alpha 0.2.*expected 0.01",
    ),
    "two activations in a row": (
        [node("Gemm", "x w", "z"), node("Tanh", "z", "t"), node("Relu", "t", "y")],
        "relu does not follow a layer of weights",
    ),
    "a residual connection": (
        [node("Gemm", "x w", "z"), node("Tanh", "z", "t"), node("Add", "t x", "y")],
        r"\(Add\) does not combine rows with a constant",
    ),
    "a product of rows": ([node("Mul", "x x", "y")], "multiplies rows with each other"),
    "half of GELU": (
        [node("Gemm", "x w", "z"), node("Erf", "z", "y")],
        "activation Erf",
    ),
    "another axis": (
        [node("Gemm", "x w", "z"), node("Softmax", "z", "y", axis=0)],
        r"\(Softmax\) has axis 0",
    ),
    "a reshape of rows": (
        [node("Gemm", "x w", "z"), node("Reshape", "z shape", "y")],
        r"\(Reshape\) to \[-1, 2\] does not keep rows of 4",
    ),
    "a constant for every row": (
        [node("Gemm", "x w", "z"), node("Add", "z column", "y")],
        r"\(Add\) has a constant of shape \(4, 1\) for rows of 4",
    ),
    "no layer": ([node("Identity", "x", "y")], "no layer of weights"),
    "weights of another width": (
        [node("MatMul", "x v", "y")],
        r"\(MatMul\) weights of shape \(2, 3\) do not fit 4 inputs",
    ),
    "an output without the input": ([node("Identity", "w", "y")], "does not depend on the input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_first_node_in_the_way_is_named(case):
    nodes, message = REFUSED[case]
    constants = {
        "w": array(4, 4),
        "v": array(3, 2),
        "shape": np.array([-1, 2]),
        "column": array(4, 1),
    }
    with pytest.raises(ValueError, match=message):
        from_onnx(model_of(nodes, constants))


def test_what_no_output_depends_on_is_not_in_the_way():
    nodes = [node("Gemm", "x w", "y"), node("Sin", "y", "s")]
    assert from_onnx(model_of(nodes, {"w": array(4, 3)})).sizes == (4, 3)


def test_an_output_is_chosen_by_name():
    nodes = [node("Gemm", "x w", "z"), node("Tanh", "z", "y")]
    model = model_of(nodes, {"w": array(4, 3)})
    model.graph.output.append(helper.make_tensor_value_info("z", FLOAT, None))
    with pytest.raises(ValueError, match="several outputs.*pass output='…'"):
        from_onnx(model)
    assert from_onnx(model, output="z").activations == ("identity",)
    with pytest.raises(ValueError, match="must be one of y, z, got 'q'"):
        from_onnx(model, output="q")


def test_something_else_than_a_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="must be an onnx.ModelProto, a path or bytes"):
        from_onnx(3)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match="is no ONNX model"):
        from_onnx(b"not a model")
