"""PyTorch's tensors as data: read where they lie, or refused with a reason."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.inputs.arrays import real_array
from support import assert_same_bits

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install .[test-peers]")

X = np.random.default_rng(0).normal(size=(20_000, 50)).astype(np.float32)
NET = cr.Network([50, 4, 2], seed=0)


def test_a_tensor_is_read_where_it_lies():
    tensor, out = torch.from_numpy(X.copy()), np.empty((len(X), 2), np.float32)
    assert real_array(tensor, "x").ctypes.data == tensor.data_ptr()
    NET.predict(tensor, out)
    tracemalloc.start()
    try:
        NET.predict(tensor, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 100
    assert_same_bits(out, NET.predict(X))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", "bool"])
def test_a_tensor_of_another_type_gives_the_bits_of_its_array(dtype):
    tensor = torch.from_numpy(np.abs(X[:30]) * 3).to(getattr(torch, dtype))
    assert_same_bits(NET.predict(tensor), NET.predict(tensor.numpy()))


def test_a_tensor_of_strides_gives_the_bits_of_a_copy():
    tensor = torch.from_numpy(X)
    for lent in (tensor[:900:3], tensor[:50].T, tensor[:40].flip(0), tensor[3]):
        assert_same_bits(NET.predict(lent), NET.predict(lent.numpy().copy()))


def test_tensors_train():
    nets = [cr.Network([50, 3], ["softmax"], "cross_entropy", seed=0) for _ in range(2)]
    labels = np.arange(900) % 3
    nets[0].fit(torch.from_numpy(X[:900]), torch.from_numpy(labels), learning_rate=0.1)
    nets[1].fit(X[:900], labels, learning_rate=0.1)
    assert_same_bits(nets[0].get_parameters(), nets[1].get_parameters())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda t: t.bfloat16(), TypeError, "BFloat16"),
        (lambda t: t.to("meta"), TypeError, "meta"),
        (lambda t: t.requires_grad_(), RuntimeError, "detach"),
        (lambda t: t.to_sparse(), TypeError, "[Ss]parse"),
    ],
    ids=["bfloat16", "another device", "part of a graph", "sparse"],
)
def test_tensors_that_have_no_array_are_refused_with_the_reason(make, error, message):
    with pytest.raises(error, match=message):
        NET.predict(make(torch.from_numpy(X[:3].copy())))
