"""PyTorch models in and out, directly and through ONNX."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from support import relative

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install .[test-peers]")

from torch import nn  # noqa: E402

from chainrule.torch import from_torch, to_torch  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 4)).astype(np.float32)


def outputs(model, x=X):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_there_and_back(activation, dtype, bias):
    hidden = "tanh" if activation == "softmax" else activation
    net = cr.Network([4, 9, 3], activations=[hidden, activation], dtype=dtype, bias=bias, seed=1)
    model = to_torch(net)
    x = X.astype(dtype)
    assert relative(outputs(model, x), net.predict(x)) < (1e-6 if dtype == "float32" else 1e-14)
    back = from_torch(model)
    assert (back.activations, back.dtype, back.has_bias) == (net.activations, net.dtype, bias)
    np.testing.assert_array_equal(back.get_parameters(), net.get_parameters())


def test_the_copy_shares_nothing_with_the_model():
    model = nn.Sequential(nn.Linear(4, 3))
    net = from_torch(model)
    before = net.predict(X)
    with torch.no_grad():
        model[0].weight.zero_()
    np.testing.assert_array_equal(net.predict(X), before)


def test_modules_without_effect_and_nested_ones():
    inner = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(nn.Flatten(), inner, nn.Identity(), nn.Linear(8, 3, bias=False)).eval()
    net = from_torch(model)
    assert (net.sizes, net.activations) == ((4, 8, 3), ("relu", "identity"))
    assert relative(net.predict(X), outputs(model)) < 1e-6


@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalisation_is_folded(affine):
    model = nn.Sequential(
        nn.BatchNorm1d(4, affine=affine),
        nn.Linear(4, 8),
        nn.BatchNorm1d(8, affine=affine),
        nn.Tanh(),
        nn.BatchNorm1d(8, affine=affine),
        nn.Linear(8, 2),
    )
    for _ in range(5):
        model(torch.randn(20, 4) * 3 + 1)  # running statistics
    model.eval()
    net = from_torch(model)
    assert net.activations == ("tanh", "identity")
    assert relative(net.predict(X), outputs(model)) < 1e-6


def test_logits_get_the_activation_of_their_loss():
    model = nn.Sequential(nn.Linear(4, 3))
    net = from_torch(model, output_activation="softmax")
    assert (net.activations, net.loss) == (("softmax",), "cross_entropy")
    assert relative(net.predict(X), outputs(nn.Sequential(model, nn.Softmax(-1)))) < 1e-6


def test_a_model_trains_on_from_where_it_was():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    net = from_torch(model, loss="mse")
    x, y = RNG.standard_normal((16, 4)), RNG.standard_normal((16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
        net.train_step(x, y, learning_rate=0.1)
    expected = from_torch(model).get_parameters()
    assert relative(net.get_parameters(), expected) < 1e-13


REFUSED = {
    "another module": (nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 3)), r"module 1, LSTM.*not one"),
    "another slope": (
        nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.2)),
        r"module 1.*negative_slope must be 0.01, got 0.2",
    ),
    "the approximate GELU": (
        nn.Sequential(nn.Linear(4, 3), nn.GELU("tanh")),
        "approximate must be 'none', got 'tanh'",
    ),
    "an activation first": (nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), "does not follow a Linear"),
    "two activations": (
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Tanh()),
        "module 2.*does not follow a layer of weights",
    ),
    "nothing": (nn.Sequential(), "has no Linear"),
    "widths that differ": (
        nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 3)),
        r"weights of shape \(3, 5\) do not fit 3 inputs",
    ),
    "weights that are not finite": (
        nn.Sequential(nn.utils.skip_init(nn.Linear, 4, 3)),
        "layer 1 has parameters that are not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_network_computes_is_named(case):
    model, message = REFUSED[case]
    if case == "weights that are not finite":
        nn.init.constant_(model[0].weight, float("nan"))
    with pytest.raises(ValueError, match=message):
        from_torch(model)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="takes an nn.Sequential, got Linear"):
        from_torch(nn.Linear(2, 2))


@pytest.mark.parametrize("dynamo", [False, True])
def test_models_that_pytorch_exported(dynamo):
    pytest.importorskip("onnx")
    if dynamo:
        pytest.importorskip("onnxscript")
    from chainrule.onnx import from_onnx

    modules = [nn.Linear(4, 9), nn.GELU(), nn.Linear(9, 9), nn.SiLU(), nn.Linear(9, 9)]
    modules += [nn.Softplus(), nn.Linear(9, 9), nn.SELU(), nn.Linear(9, 9), nn.ELU()]
    modules += [nn.Linear(9, 9), nn.LeakyReLU(), nn.Linear(9, 9, bias=False), nn.Tanh()]
    modules += [nn.Linear(9, 9), nn.Hardswish(), nn.Linear(9, 3), nn.Softmax(-1)]
    model, file = nn.Sequential(*modules).eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            exported = torch.onnx.export(model, (torch.zeros(2, 4),), dynamo=True, verbose=False)
            source = exported.model_proto
        else:
            torch.onnx.export(model, (torch.zeros(2, 4),), file, dynamo=False)
            source = file.getvalue()
    net = from_onnx(source)
    names = ("gelu", "silu", "softplus", "selu", "elu", "leaky_relu", "tanh", "hardswish")
    assert net.activations == (*names, "softmax")
    assert relative(net.predict(X), outputs(model)) < 1e-6


# Tensors as arguments


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tensors_are_read_and_written_where_they_lie(dtype):
    net = cr.Network([4, 9, 3], dtype=dtype, seed=0)
    x = torch.from_numpy(X.astype(dtype))
    expected = net.predict(x.numpy())
    np.testing.assert_array_equal(net.predict(x), expected)
    out = torch.zeros(50, 3, dtype=x.dtype)
    net.predict(x, out=out.numpy())
    np.testing.assert_array_equal(out.numpy(), expected)


def test_tensors_train():
    net, twin = (cr.Network([4, 9, 3], seed=0) for _ in range(2))
    x, y = torch.from_numpy(X), torch.randn(50, 3)
    net.fit(x, y, epochs=2, learning_rate=0.1)
    twin.fit(X, y.numpy(), epochs=2, learning_rate=0.1)
    np.testing.assert_array_equal(net.get_parameters(), twin.get_parameters())


def test_a_tensor_that_requires_a_gradient_is_refused_clearly():
    net = cr.Network([4, 3], seed=0)
    with pytest.raises((RuntimeError, TypeError), match="detach"):
        net.predict(torch.from_numpy(X).requires_grad_())
