"""fit: weights of classes, a share for validation, streams, and files larger than memory."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network, run_python, says, unchanged

N = 60


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    y = rng.choice(3, N, p=[0.7, 0.2, 0.1])
    return (rng.normal(size=(N, 5)) + np.eye(3, 5)[y]).astype(np.float32), y


def assert_trains_alike(net, ours, theirs, *, data=None, their_data=None):
    twin = copy.deepcopy(net)
    history = net.fit(*data, epochs=2, batch_size=16, learning_rate=0.1, **ours)
    other = twin.fit(*(their_data or data), epochs=2, batch_size=16, learning_rate=0.1, **theirs)
    assert_same_bits(net.get_parameters(), twin.get_parameters())
    assert history.cost == other.cost
    return history, other


# --- weights of classes -----------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize(
    "value",
    [{0: 0.5, 2: 3}, [0.5, 1, 3], np.array([0.5, 1.0, 3.0])],
    ids=["dict", "list", "array"],
)
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_class_weights_are_weights_of_samples(net, data, value, kind):
    x, y = data
    targets = y if kind == "labels" else np.eye(3)[y]
    weight = np.array([0.5, 1, 3])[y]
    assert_trains_alike(net, {"class_weight": value}, {"sample_weight": weight}, data=(x, targets))


@pytest.mark.bits
def test_class_weights_multiply_the_weights_of_samples(net, data, rng):
    own = rng.random(N)
    together = own * np.array([2.0, 1.0, 0.0])[data[1]]
    assert_trains_alike(
        net,
        {"class_weight": [2, 1, 0], "sample_weight": own},
        {"sample_weight": together},
        data=data,
    )


def test_balanced_weights_are_those_of_scikit_learn(net, data):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_sample_weight
    expected = compute("balanced", data[1])
    assert_trains_alike(net, {"class_weight": "balanced"}, {"sample_weight": expected}, data=data)


def test_balanced_weights_where_a_class_is_missing(net, data):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_sample_weight
    x, y = data[0], np.where(data[1] == 2, 0, data[1])
    weight = compute("balanced", y)
    assert_trains_alike(net, {"class_weight": "balanced"}, {"sample_weight": weight}, data=(x, y))


def test_class_weights_of_a_yes_or_no(rng):
    net = random_network(rng, [5, 1], "sigmoid", "binary_cross_entropy", dtype="float32")
    x, y = rng.normal(size=(N, 5)).astype(np.float32), rng.integers(0, 2, N)
    weight = np.array([1.0, 4.0])[y]
    assert_trains_alike(net, {"class_weight": {1: 4}}, {"sample_weight": weight}, data=(x, y))


@pytest.mark.bits
def test_class_weights_of_a_stream(net, data):
    x, y = data
    halves = [(x[:30], y[:30]), (x[30:], y[30:])]
    weight = np.array([1.0, 2.0, 0.0])[y]
    weighted = [(x[:30], y[:30], weight[:30]), (x[30:], y[30:], weight[30:])]
    assert_trains_alike(
        net, {"class_weight": {1: 2, 2: 0}}, {}, data=(halves,), their_data=(weighted,)
    )


def test_a_batch_of_a_stream_may_have_no_weight(net, data):
    x, y = data
    batches = [(x[y == c], y[y == c]) for c in range(3)]
    history = net.fit(batches, optimizer=cr.Adam(), class_weight={0: 0})
    assert np.isfinite(history.cost).all()


def test_class_weights_do_not_reach_validation(net, data):
    history = net.fit(
        *data, learning_rate=0.1, validation_data=data, class_weight=[9, 1, 1], metrics=["accuracy"]
    )
    assert history.validation_cost == [net.evaluate(*data)["cost"]]


WRONG_CLASS_WEIGHTS = {
    "a name": ("even", ValueError, "balanced"),
    "a class too many": ({3: 1.0}, ValueError, "0 … 2"),
    "a key that is no class": ({"a": 1.0}, TypeError, "integers"),
    "too few": ([1, 2], ValueError, "3"),
    "negative": ([1, -1, 1], ValueError, ">= 0"),
    "infinite": ({0: np.inf}, ValueError, "finite"),
    "a text": ({0: "x"}, TypeError, "numbers"),
    "all zero": ([0, 0, 0], ValueError, "sum"),
    "a number": (2.0, ValueError, "one weight a class"),
}


@pytest.mark.parametrize("case", WRONG_CLASS_WEIGHTS)
def test_wrong_class_weights_are_refused(net, data, case):
    value, error, message = WRONG_CLASS_WEIGHTS[case]
    with unchanged(net), pytest.raises(error, match=says(message)):
        net.fit(*data, learning_rate=0.1, class_weight=value)


def test_class_weights_need_classes(rng):
    net = random_network(rng, [5, 3])
    x, y = rng.normal(size=(N, 5)), rng.normal(size=(N, 3))
    with unchanged(net), pytest.raises(ValueError, match=says("half_mse", "sample_weight")):
        net.fit(x, y, learning_rate=0.1, class_weight="balanced")


def test_balanced_weights_of_a_stream_are_refused(net, data):
    with unchanged(net), pytest.raises(ValueError, match=says("balanced", "stream")):
        net.fit([data], learning_rate=0.1, class_weight="balanced")


# --- a share for validation -------------------------------------------------------------------


@pytest.mark.bits
def test_validation_split_takes_the_last_samples(net, data, rng):
    x, y = data
    w = rng.random(N)
    history, other = assert_trains_alike(
        net,
        {"validation_split": 0.25, "sample_weight": w},
        {"sample_weight": w[:45], "validation_data": (x[45:], y[45:], w[45:])},
        data=data,
        their_data=(x[:45], y[:45]),
    )
    assert history.validation_cost == other.validation_cost


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1.0, "[0, 1)"),
        (-0.1, "[0, 1)"),
        (1e-9, "leaves none"),
        (0.999, "leaves none"),
        ("a", "'a'"),
    ],
)
def test_a_wrong_share_is_refused(net, data, share, message):
    with unchanged(net), pytest.raises(ValueError, match=says("validation_split", message)):
        net.fit(*data, learning_rate=0.1, validation_split=share)


def test_a_share_and_data_for_validation_are_refused(net, data):
    with unchanged(net), pytest.raises(ValueError, match=says("not both")):
        net.fit(*data, learning_rate=0.1, validation_split=0.5, validation_data=data)


def test_a_stream_cannot_be_split(net, data):
    with unchanged(net), pytest.raises(ValueError, match=says("validation_split", "stream")):
        net.fit([data], learning_rate=0.1, validation_split=0.5)


# --- streams ----------------------------------------------------------------------------------


@pytest.mark.bits
def test_a_function_gives_a_new_iterator_each_epoch(net, data):
    calls = []

    def batches():
        calls.append(1)
        yield data
        yield data

    assert_trains_alike(net, {}, {}, data=(batches,), their_data=([data, data],))
    assert len(calls) == 2


def test_a_function_that_returns_no_iterable_is_refused(net):
    with unchanged(net), pytest.raises(TypeError, match=says("int", "iterable")):
        net.fit(lambda: 3, learning_rate=0.1)


@pytest.mark.peers
def test_a_data_loader_of_torch(net, data):
    torch = pytest.importorskip("torch")
    x, y = data
    dataset = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16)
    history, _ = assert_trains_alike(net, {}, {"shuffle": False}, data=(loader,), their_data=data)
    assert len(history) == 2

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(zip(torch.tensor(x), torch.tensor(y), strict=True))

    loader = torch.utils.data.DataLoader(Endless(), batch_size=16)  # which has no len
    assert len(net.fit(loader, epochs=2, learning_rate=0.1, progress=True)) == 2


# --- files larger than memory -----------------------------------------------------------------

LARGER_THAN_MEMORY = """
import resource, sys
import numpy as np
import chainrule as cr

path, how, n, width = sys.argv[1], sys.argv[2], int(sys.argv[3]), 64
net = cr.Network([width, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
y = (np.arange(n) % 3).astype(np.uint8)
options = {"epochs": 2, "batch_size": 512, "learning_rate": 0.05, "threads": 1}

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024

def windows():
    '''Batches from windows of the file, of which one is mapped at a time.'''
    rows = 8192
    for start in range(0, n, rows):
        part = np.memmap(path, np.float32, "r", start * width * 4, (min(rows, n - start), width))
        for i in range(0, len(part), 512):
            yield part[i : i + 512], y[start + i : start + i + 512]
        del part

net.fit(np.ones((600, width), np.float32), y[:600], **options)  # what the first call allocates
net = cr.Network([width, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
if how == "windows":
    limit = status("VmSize") + n * width  # a quarter of the file more than there is now
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        np.memmap(path, np.float32, "r", shape=(n, width))
    except OSError:
        pass
    else:
        raise AssertionError("the file fits below the limit")
    history = net.fit(windows, **{key: options[key] for key in options if key != "batch_size"})
else:
    X = np.memmap(path, np.float32, "r", shape=(n, width))
    limit = status("VmData") + n * width
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before = status("RssAnon")
    peak = before
    class Watch:
        def on_epoch_end(self, network, history):
            global peak
            peak = max(peak, status("RssAnon"))
    history = net.fit(X, y, shuffle=how == "shuffled", **options, callbacks=[Watch()])
    assert peak - before < n * width, (before, peak)
    try:
        np.array(X)  # a copy, which nothing above has made
    except MemoryError:
        pass
    else:
        raise AssertionError("a copy fits below the limit")
print(repr(history.cost))
"""


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    """64 MB of float32, written in parts."""
    path, n, width = tmp_path_factory.mktemp("large") / "x.f4", 250_000, 64
    draws = np.random.default_rng(0)
    with open(path, "wb") as file:
        for start in range(0, n, 10_000):
            x = draws.normal(0, 0.5, (10_000, width))
            x[np.arange(10_000), np.arange(start, start + 10_000) % 3] += 1
            file.write(x.astype(np.float32).tobytes())
    return path, n


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and limits that bind")
def test_a_file_larger_than_the_address_space_is_trained_on_in_windows(large_file):
    path, n = large_file
    costs = run_python("-c", LARGER_THAN_MEMORY, str(path), "windows", str(n))
    whole = run_python("-c", LARGER_THAN_MEMORY, str(path), "in order", str(n))
    assert costs == whole  # to the last bit: the batches are the same


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and limits that bind")
def test_a_mapped_file_is_trained_on_shuffled_without_being_held(large_file):
    path, n = large_file
    printed = run_python("-c", LARGER_THAN_MEMORY, str(path), "shuffled", str(n))
    first, second = eval(printed)
    assert second < first < 1.2
