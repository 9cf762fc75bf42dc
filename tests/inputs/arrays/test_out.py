"""`out` of predict: beside x, over x, in a file, in the network's own memory."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr
from hostile import Wilful
from support import assert_same_bits, bits, random_network, says, unchanged

WIDTH = 6


@pytest.fixture
def square(rng, dtype):
    """A network of as many outputs as inputs, so that x and `out` can lie anywhere."""
    return random_network(rng, [WIDTH, 4, WIDTH], dtype=dtype)


@pytest.fixture
def room(rng, dtype):
    return rng.normal(size=(40, WIDTH)).astype(dtype)


def at(room, element, rows=9):
    """Rows that begin anywhere."""
    return room.reshape(-1)[element : element + rows * WIDTH].reshape(rows, WIDTH)


#: x and `out` in one room: they share memory.
OVERLAPPING = {
    "the same": lambda room: (room[:9], room[:9]),
    "one row below": lambda room: (room[:9], room[1:10]),
    "one row above": lambda room: (room[1:10], room[:9]),
    "one element below": lambda room: (at(room, 0), at(room, 1)),
    "one element in common": lambda room: (at(room, 0), at(room, 9 * WIDTH - 1)),
    "the last row": lambda room: (room[:9], room[8:17]),
    "backwards": lambda room: (room[8::-1], room[:9]),
    "every second row": lambda room: (room[:18:2], room[10:19]),
    "columns backwards": lambda room: (room[:9, ::-1], room[:9]),
    "the transpose": lambda room: (room[:WIDTH].T, room[:WIDTH]),
    "the last row of out for all": lambda room: (np.broadcast_to(room[8], (9, WIDTH)), room[:9]),
    "one number for all": lambda room: (np.broadcast_to(room[8:9, 5:], (9, WIDTH)), room[:9]),
    "its bytes": lambda room: (room[:2].view(np.uint8)[:, :WIDTH], at(room, 0, 2)),
    "a memoryview": lambda room: (memoryview(room[:9]), room[8:17]),
    "a vector": lambda room: (room[3], room[3]),
    "a vector backwards": lambda room: (room[3, ::-1], room[3]),
    "one element of a vector": lambda room: (at(room, 0, 1)[0], at(room, WIDTH - 1, 1)[0]),
    "a column": lambda room: (room[:WIDTH, 3], room[2]),
}

#: Beside each other, or between each other's rows.
APART = {
    "the rows after": lambda room: (room[:9], room[9:18]),
    "the rows before": lambda room: (room[9:18], room[:9]),
    "between two rows": lambda room: (room[:40:13], room[1:5]),
    "between two rows, backwards": lambda room: (room[39::-13], room[9:13]),
    "a vector beside": lambda room: (room[3], room[4]),
    "nothing": lambda room: (room[:0], room[:0]),
}


@pytest.mark.parametrize("place", OVERLAPPING)
def test_an_out_that_shares_memory_with_x_is_refused(square, room, place):
    x, out = OVERLAPPING[place](room)
    assert np.shares_memory(np.asarray(x), out)
    before = bits(room)
    for predict in (square.predict, square.freeze()):
        with pytest.raises(ValueError, match=says("out", "overlaps", "x")):
            predict(x, out=out)
    assert bits(room) == before


@pytest.mark.bits
@pytest.mark.parametrize("place", APART)
def test_an_out_beside_x_is_filled(square, room, place):
    x, out = APART[place](room)
    assert not np.shares_memory(x, out)
    expected = room.copy()
    APART[place](expected)[1][...] = square.predict(x.copy())
    assert square.predict(x, out=out) is out
    assert_same_bits(room, expected)


def test_columns_between_those_of_x_are_no_place_for_out(square):
    """They share no memory, but a result is written in one piece."""
    room = np.zeros((9, 2 * WIDTH), square.dtype)
    for x, out in ((room[:, ::2], room[:, 1::2]), (room[:, :WIDTH], room[:, WIDTH:])):
        with pytest.raises(ValueError, match=says("out", "contiguous")):
            square.predict(x, out=out)
    assert not room.any()


@pytest.mark.bits
@pytest.mark.parametrize("kind", [np.matrix, np.memmap, np.recarray, Wilful])
def test_out_may_be_of_a_subclass(square, kind, room):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        out = np.zeros((40, WIDTH), square.dtype).view(kind)
    assert square.predict(room, out=out) is out
    assert_same_bits(np.array(out, subok=False), square.predict(room))


@pytest.mark.bits
def test_out_in_a_mapped_file_is_written_to_the_file(square, room, tmp_path):
    path = tmp_path / "out"
    square.predict(room, out=np.memmap(path, room.dtype, "w+", shape=room.shape))
    assert path.read_bytes() == bits(square.predict(room))
    with pytest.raises(ValueError, match=says("out", "read-only")):
        square.predict(room, out=np.memmap(path, room.dtype, "r", shape=room.shape))
    square.predict(room[::-1], out=np.memmap(path, room.dtype, "c", shape=room.shape))
    assert path.read_bytes() == bits(square.predict(room))


# --- the network's own memory -----------------------------------------------------------------


def test_out_may_not_be_the_parameters_that_the_call_reads():
    """The first rows of a result would be weights of those that follow."""
    net = cr.Network([1, 300, 1], "identity", seed=0)
    x = np.ones((300, 1), np.float32)
    for sample, out in ((x, net.weights[0]), (x[0], net.biases[-1])):
        assert out.flags.c_contiguous
        with unchanged(net), pytest.raises(ValueError, match=says("out", "parameters")):
            net.predict(sample, out=out)


def test_out_may_be_the_parameters_of_another_network(rng):
    net, other = cr.Network([3, 5], seed=0), cr.Network([2, 5], seed=1)
    x = rng.normal(size=3).astype(np.float32)
    for predict in (net.predict, other.freeze() and net.freeze()):
        other.biases[0][:] = 0
        predict(x, out=other.biases[0])
        assert_same_bits(other.biases[0], net.predict(x))


@pytest.mark.bits
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("train", ["train_step", "fit"])
@pytest.mark.parametrize("argument", ["x", "y"])
def test_weights_that_are_data_of_their_own_training_give_the_bits_of_a_copy(
    argument, train, threads
):
    """Each step reads them as they are before it."""
    n = 300

    def trained(take):
        net = cr.Network([n, n, n], "tanh", "mse", seed=0)
        data = {"x": np.ones((n, n), np.float32), "y": np.ones((n, n), np.float32)}
        data[argument] = take(net.weights[0].T)
        if train == "fit":
            net.fit(data["x"], data["y"], learning_rate=0.5, batch_size=None, threads=threads)
        else:
            net.train_step(data["x"], data["y"], learning_rate=0.5)
        return net.get_parameters()

    default = cr.get_num_threads()
    cr.set_num_threads(threads)
    try:
        assert_same_bits(trained(np.asarray), trained(np.array))
    finally:
        cr.set_num_threads(default)
