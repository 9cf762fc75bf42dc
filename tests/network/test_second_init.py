"""__init__ called again on an object that has been made: refused, and nothing changes."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from support import assert_same_bits, random_network, says

REFUSED = says("initialized already", "__init__", "make a new")
CORE = ([5, 7, 3], ["tanh", "tanh"], "half_mse", "float64", True)


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 7, 3])


@pytest.mark.parametrize("sizes", [[5, 7, 3], [50, 7, 3], [2, 1]], ids=str)
def test_a_network_is_not_made_twice(net, sizes):
    weights, before = net.weights, net.get_parameters()
    state = dict(vars(net))
    with pytest.raises(TypeError, match=REFUSED):
        net.__init__(sizes, seed=9)
    assert_same_bits(net.get_parameters(), before)
    assert vars(net) == state
    assert net.sizes == (5, 7, 3)
    for view, now in zip(weights, net.weights, strict=True):
        view[0, 0] += 1.0  # the views are still those of the network
        assert view[0, 0] == now[0, 0]


def test_a_function_for_init_is_not_seen_by_a_network_that_is_made(net):
    before = net.get_parameters()
    with pytest.raises(TypeError, match=REFUSED):
        net.__init__([5, 7, 3], init=lambda n_out, n_in, layer: np.ones((n_out, n_in)))
    assert_same_bits(net.get_parameters(), before)


def test_a_subclass_cannot_call_init_twice():
    class Twice(cr.Network):
        def __init__(self):
            super().__init__([5, 7, 3])
            super().__init__([5, 9, 3])

    with pytest.raises(TypeError, match=says("Twice", "initialized already")):
        Twice()


def test_a_network_is_not_made_anew_in_a_fit_of_its_own(rng, net):
    twin, refused = copy.deepcopy(net), []

    def makes(network, history):
        with pytest.raises(TypeError, match=REFUSED):
            network.__init__([3, 2])
        refused.append(True)

    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 3))
    net.fit(x, y, epochs=2, learning_rate=0.1, callbacks=[makes])
    twin.fit(x, y, epochs=2, learning_rate=0.1)
    assert refused == [True, True]
    assert_same_bits(net.get_parameters(), twin.get_parameters())


def test_a_network_is_not_made_anew_beside_a_fit_in_another_thread(rng, net):
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 3))
    twin, entered, done = copy.deepcopy(net), threading.Event(), threading.Event()

    class Waits:
        def on_batch_end(self, network, epoch, step, cost):
            entered.set()
            assert done.wait(60)

    options = {"batch_size": 5, "learning_rate": 0.1}
    options["callbacks"] = [Waits()]
    thread = threading.Thread(target=net.fit, args=(x, y), kwargs=options)
    thread.start()
    try:
        assert entered.wait(60)
        with pytest.raises(TypeError, match=REFUSED):
            net.__init__([3, 2])
    finally:
        done.set()
        thread.join()
    twin.fit(x, y, batch_size=5, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), twin.get_parameters())


def test_a_predictor_is_not_made_twice(rng, net):
    x, serve = rng.normal(size=(4, 5)), net.freeze()
    with pytest.raises(TypeError, match=REFUSED):
        serve.__init__(random_network(rng, [5, 7, 3]))
    assert_same_bits(serve(x), net.predict(x))


def test_no_object_of_the_core_is_made_twice(rng, net):
    adam = cr.Adam()
    adam.bind(net)
    adam.learning_rate = 0.5
    net.train_step(rng.normal(size=(4, 5)), rng.normal(size=(4, 3)), optimizer=adam)
    state = adam.bind(net)
    _, tape = _core.record(net, np.ones((2, 5)))
    position, snapshot = _core.Position(3, 30), _core.Snapshot(net, state)
    before, pulled = pickle.dumps(state.get()), tape.pullback(np.ones((2, 3)))
    for made, arguments in [
        (_core.Network(*CORE), CORE),
        (_core.Predictor(net), (net,)),
        (state, (net, "adam", {})),
        (snapshot, (net, state)),
        (position, (5,)),
        (tape, (net, np.zeros((9, 5)))),
    ]:
        with pytest.raises(TypeError, match=REFUSED):
            made.__init__(*arguments)
    assert pickle.dumps(state.get()) == before
    assert (position.steps, position.samples) == (3, 30)
    for now, then in zip(tape.pullback(np.ones((2, 3)))[0], pulled[0], strict=True):
        assert_same_bits(now, then)


def test_an_optimizer_is_not_made_twice(net):
    adam = cr.Adam(0.25)
    state = adam.bind(net)
    with pytest.raises(AttributeError, match="fixed"):
        adam.__init__(0.5)
    assert adam.learning_rate == 0.25
    assert adam.bind(net) is state


# --- what may be called again, or made without Network.__init__ ---------------------------------


def fails(n_out, n_in, layer):
    raise KeyError("mine")


@pytest.mark.parametrize(
    "bad",
    [
        {"sizes": [5, 0]},
        {"activations": "tan"},
        {"activations": 3},
        {"loss": "none"},
        {"dtype": "int8"},
        {"init": "none"},
        {"init": fails},
        {"init": lambda n_out, n_in, layer: np.ones(2)},
        {"init": lambda n_out, n_in, layer: np.full((n_out, n_in), np.nan)},
        {"seed": -1},
    ],
    ids=lambda bad: ",".join(bad),
)
def test_an_init_that_failed_may_be_called_again(bad):
    net = cr.Network.__new__(cr.Network)
    with pytest.raises((ValueError, TypeError, KeyError)):
        net.__init__(**({"sizes": [5, 7, 3]} | bad))
    net.__init__([5, 7, 3], seed=4)
    expected = cr.Network([5, 7, 3], seed=4)
    assert_same_bits(net.get_parameters(), expected.get_parameters())
    assert (net.seed, net.epoch) == (4, 0)


def test_an_init_of_the_core_that_failed_may_be_called_again(net):
    for kind, bad, good in [
        (_core.Network, ([0, 1], *CORE[1:]), CORE),
        (_core.Predictor, (3,), (net,)),
        (_core.OptimizerState, (net, "none", {}), (net, "sgd", {})),
        (_core.Tape, (net, np.ones(9)), (net, np.ones(5))),
    ]:
        made = kind.__new__(kind)
        with pytest.raises((ValueError, TypeError)):
            made.__init__(*bad)
        made.__init__(*good)
        with pytest.raises(TypeError, match=REFUSED):
            made.__init__(*good)


def test_an_init_that_is_called_within_itself_is_refused():
    """By sequences that call it when they are read, of sizes and of names."""
    net = _core.Network.__new__(_core.Network)
    reads = []

    class Calls:
        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

        def __getitem__(self, index):
            with pytest.raises(TypeError, match=REFUSED):
                net.__init__(*CORE)
            reads.append(index)
            return self.values[index]

    net.__init__(Calls(CORE[0]), Calls(CORE[1]), *CORE[2:])
    assert sorted(set(reads)) == [0, 1, 2]
    assert net.sizes == (5, 7, 3)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_copies_are_made_once_too(net, copied):
    other = copied(net)
    assert_same_bits(other.get_parameters(), net.get_parameters())
    with pytest.raises(TypeError, match=REFUSED):
        other.__init__([5, 7, 3])
