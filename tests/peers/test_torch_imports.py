"""``from_torch`` takes what it knows to be the same function, and refuses the rest by name."""

from __future__ import annotations

import copy
import logging
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import relative, says

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install .[test-peers]")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from chainrule import agreement  # noqa: E402
from chainrule.torch import from_torch, to_torch  # noqa: E402

RNG = np.random.default_rng(0)
torch.set_num_threads(1)  # the networks are small


def outputs(model, x):
    """What the model answers in evaluation mode, in float64."""
    model = copy.deepcopy(model).eval().double()
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(x, np.float64))).numpy()


def assert_same_function(model, bound=2e-6, **options):
    net = from_torch(model, **options)
    x = RNG.standard_normal((40, net.sizes[0])).astype(np.float32)
    assert relative(net.predict(x), outputs(model, x)) < bound
    return net


def refused(*words):
    return pytest.raises(ValueError, match=says(*words))


# --- modules that occur several times -------------------------------------------------------------

RELU, LINEAR, NORM = nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4, eps=0.5)
BLOCK = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
REPEATED = {
    "an activation": (nn.Linear(4, 8), RELU, nn.Linear(8, 4), RELU, nn.Linear(4, 3)),
    "a linear map": (LINEAR, nn.Tanh(), LINEAR, nn.Tanh(), LINEAR),
    "a linear map without anything between": (LINEAR, LINEAR, nn.ReLU(), nn.Linear(4, 2)),
    "a block": (BLOCK, BLOCK, nn.Linear(4, 3), nn.Sigmoid()),
    "a block of blocks": (nn.Sequential(BLOCK, LINEAR), RELU, nn.Sequential(BLOCK, LINEAR), BLOCK),
    "a normalisation": (LINEAR, NORM, nn.Tanh(), LINEAR, NORM),
}


@pytest.mark.parametrize("case", REPEATED)
def test_a_module_that_occurs_twice_runs_twice(case):
    net = assert_same_function(nn.Sequential(*REPEATED[case]))
    linear = [m for m in flat(REPEATED[case]) if isinstance(m, nn.Linear)]
    assert len(net.weights) == len(linear)


def flat(modules):
    for module in modules:
        yield from flat(module) if isinstance(module, nn.Sequential) else [module]


class OwnForward(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class OwnCall(nn.Sequential):
    def __call__(self, x):
        return 2 * super().__call__(x)


class Backwards(nn.Sequential):
    def __iter__(self):
        return reversed(self._modules.values())


class Named(nn.Sequential):
    """Nothing but another name."""


def test_a_subclass_that_changes_nothing_is_taken():
    assert_same_function(Named(nn.Linear(4, 4), Named(nn.ReLU()), nn.Linear(4, 3)))


@pytest.mark.parametrize("kind", [OwnForward, OwnCall, Backwards])
@pytest.mark.parametrize("nested", [False, True])
def test_a_sequential_that_does_something_of_its_own_is_refused(kind, nested):
    model = kind(nn.Linear(4, 4), nn.ReLU())
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), model) if nested else model
    where = "module 2: " if nested else "the model: "
    with refused(where + kind.__name__, "nn.Sequential", "from_onnx"):
        from_torch(model)


def test_a_sequential_in_itself_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model)
    with refused("module 2", "contains itself"):
        from_torch(model)


# --- hooks, parametrizations, replaced methods ----------------------------------------------------


def whole():
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Dropout()), nn.Linear(4, 3))


PLACES = {"": "the model", "0": "module 0", "1": "module 1", "1.0": "1.0", "1.1": "1.1"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hook", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_refused_wherever_they_are(hook, place):
    model = whole()
    handle = getattr(model.get_submodule(place), hook)(lambda *arguments: None)
    with refused(PLACES[place], "forward hooks", "handle.remove()"):
        from_torch(model)
    handle.remove()
    from_torch(model)


@pytest.mark.parametrize("hook", ["forward_hook", "forward_pre_hook"])
def test_hooks_of_all_modules_are_refused(hook):
    handle = getattr(nn.modules.module, f"register_module_{hook}")(lambda *arguments: None)
    try:
        with refused("for all modules", f"register_module_{hook}", "remove"):
            from_torch(whole())
    finally:
        handle.remove()


@pytest.mark.parametrize("place", ["", "0", "1", "1.0", "1.1"])
def test_a_forward_that_was_replaced_on_the_object_is_refused(place):
    model = whole()
    model.get_submodule(place).forward = lambda x: 2 * x
    with refused(PLACES[place], "forward is replaced on this object"):
        from_torch(model)


def test_weights_that_a_hook_computes_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are old
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)))
    with refused("module 0", "forward hooks", "remove_weight_norm"):
        from_torch(model)
    nn.utils.remove_weight_norm(model[0])
    assert_same_function(model)


def test_pruned_weights_are_refused_until_the_pruning_is_made_permanent():
    model = nn.Sequential(nn.Linear(4, 3))
    prune.l1_unstructured(model[0], "weight", 0.5)
    with refused("module 0", "forward hooks", "prune.remove"):
        from_torch(model)
    prune.remove(model[0], "weight")
    assert_same_function(model)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrized_weights_are_refused(kind):
    model = nn.Sequential(getattr(parametrizations, kind)(nn.Linear(4, 3)))
    with refused("module 0", "parametrized", "remove_parametrizations"):
        from_torch(model)
    nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    assert_same_function(model)


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Linear, nn.Sequential, nn.BatchNorm1d, nn.Dropout])
def test_a_class_that_was_changed_is_found_by_running(kind, monkeypatch):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout())
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: forward(self, x) + 1e-6)
    with refused("and the network differ", "Nothing was imported", "Undo what changes the model"):
        from_torch(model)


def test_a_function_that_was_changed_is_found_in_its_module(monkeypatch):
    tanh = torch.tanh
    monkeypatch.setattr(torch, "tanh", lambda x: tanh(x) * (1 + 1e-8))
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    with refused("module 3, Tanh() and the network differ"):
        from_torch(model)


# --- arguments and states -------------------------------------------------------------------------

SOFTPLUS = {
    ("float32", 1): False,
    ("float32", 14.9): False,
    ("float32", 15): True,
    ("float32", 20): True,
    ("float32", 88): True,
    ("float32", 100): False,  # exp overflows below it
    ("float64", 15): False,
    ("float64", 20): True,
    ("float64", 700): True,
    ("float64", 800): False,
    ("float32", float("nan")): False,
}


@pytest.mark.parametrize(("dtype", "threshold"), SOFTPLUS, ids=str)
def test_a_softplus_that_cuts_is_refused(dtype, threshold):
    linear = nn.Linear(1, 1)
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.bias.zero_()
    model = nn.Sequential(linear, nn.Softplus(1, threshold=threshold)).to(getattr(torch, dtype))
    if not SOFTPLUS[dtype, threshold]:
        with refused("module 1, Softplus", "threshold must lie between", f"got {threshold!r}"):
            from_torch(model)
        return
    net = from_torch(model)
    x = np.linspace(-90, 120, 4000).astype(dtype)[:, None]
    with torch.no_grad():
        difference = np.abs(net.predict(x) - model(torch.from_numpy(x)).numpy())
    assert (difference / np.maximum(1, np.abs(x))).max() < (2e-7 if dtype == "float32" else 1.1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_softplus_of_ours_has_no_cut(dtype):
    net = from_torch(nn.Sequential(nn.Linear(1, 1), nn.Softplus()).to(getattr(torch, dtype)))
    net.weights[0][...], net.biases[0][...] = 1, 0
    x = np.linspace(15, 60, 1000).astype(dtype)[:, None]
    with torch.no_grad():
        answers = to_torch(net)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answers, net.predict(x), rtol=2 * np.finfo(dtype).eps, atol=0)


def test_a_softplus_that_is_its_argument_in_float32_is_so_in_the_comparison():
    model = nn.Sequential(nn.Linear(1, 1), nn.Softplus(), nn.Linear(1, 1))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), [0, 20.01, 1e3, -20010], strict=True):
            parameter.fill_(value)
    from_torch(model)  # in float64, 20.01 and softplus(20.01) differ by 2e-9, a thousand times


def with_attributes(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def linear_of(weight):
    return with_attributes(
        nn.Linear(4, 3, bias=False), weight=nn.Parameter(weight, requires_grad=False)
    )


REFUSED = {
    "flattened rows": (nn.Flatten(0), "start_dim must be 1, got 0"),
    "a late flatten": (nn.Flatten(2), "start_dim must be 1, got 2"),
    "an early end": (nn.Flatten(1, -2), "end_dim must be -1, got -2"),
    "softmax over rows": (nn.Softmax(0), "dim must be -1, got 0"),
    "softmax over whatever": (nn.Softmax(), "dim must be -1, got None"),
    "a beta": (nn.Softplus(2), "beta must be 1.0, got 2"),
    "a slope set later": (with_attributes(nn.LeakyReLU(), negative_slope=0.2), "got 0.2"),
    "no statistics": (nn.BatchNorm1d(3, track_running_stats=False), "track_running_stats=True"),
    "no variance": (with_attributes(nn.BatchNorm1d(3), running_var=None), "running statistics"),
    "other features": (nn.BatchNorm1d(1), "shapes [(1,)", "3 features come in"),
    "one variance": (
        with_attributes(nn.BatchNorm1d(3), running_var=torch.ones(1)),
        "shapes [(3,), (1,)",
    ),
    "other biases": (with_attributes(nn.Linear(3, 3), bias=nn.Parameter(torch.ones(2))), "(2,)"),
    "no weight": (with_attributes(nn.Linear(3, 3), weight=None), "has no weight"),
    "slopes": (nn.LeakyReLU(torch.tensor([0.1, 0.2])), "negative_slope must be 0.01"),
    "a lazy layer": (nn.LazyLinear(3), "has no weights yet", "run the model on a batch"),
    "the meta device": (nn.Linear(3, 3, device="meta"), "meta device", "load its weights"),
    "complex weights": (nn.Linear(3, 3, dtype=torch.complex64), "complex64", "float32"),
    "integers": (linear_of(torch.ones(3, 3, dtype=torch.int8)), "int8"),
    "eight bits": (linear_of(torch.ones(3, 3).to(torch.float8_e5m2)), "float8_e5m2"),
    "sparse weights": (linear_of(torch.ones(3, 3).to_sparse()), "torch.sparse_coo"),
    "a subclass": (nn.modules.linear.NonDynamicallyQuantizableLinear(3, 3), "torch.nn's Linear"),
    "no module": (None, "not one of torch.nn's"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_changes_a_module_is_refused(case):
    module, *words = REFUSED[case]
    model = nn.Sequential(nn.Linear(4, 3))
    model.register_module("last", module)
    with refused("module last", *words):
        from_torch(model)


def test_a_tensor_that_is_more_than_a_tensor_is_refused():
    class Wrapped(torch.Tensor):
        pass

    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    del model[0].weight
    model[0].weight = torch.ones(3, 4).as_subclass(Wrapped)
    with refused("module 0", "holds a Wrapped", "plain tensor"):
        from_torch(model)


def test_models_of_two_precisions_are_refused():
    with refused("float32 and float64", ".float() or .double()"):
        from_torch(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2).double()))


def test_other_modules_are_answered_with_a_way():
    with pytest.raises(TypeError, match=says("got LSTM", "nn.Sequential", "from_onnx")):
        from_torch(nn.LSTM(4, 3))
    with pytest.raises(TypeError, match=says("got DataParallel", "pass its attribute module")):
        from_torch(nn.DataParallel(whole()))


def test_an_activation_that_is_none_is_refused_by_name():
    with refused("output_activation must be one of identity, sigmoid", "got 'sofmax'"):
        from_torch(nn.Sequential(nn.Linear(4, 3)), output_activation="sofmax")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened(dtype):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    assert assert_same_function(model.to(getattr(torch, dtype))).dtype == np.float32


def test_modules_that_work_in_place_are_taken():
    model = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(4, 8), nn.ReLU(inplace=True))
    model.extend([nn.Linear(8, 8), nn.SELU(inplace=True), nn.Linear(8, 2), nn.ELU(inplace=True)])
    assert_same_function(model)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(8, momentum=None),
        nn.BatchNorm1d(8, eps=0.1),
        nn.BatchNorm1d(8, affine=False),
        with_attributes(nn.BatchNorm1d(8), track_running_stats=False),
        with_attributes(nn.BatchNorm1d(8), bias=None),
        with_attributes(nn.BatchNorm1d(8), weight=None),
    ],
    ids=str,
)
def test_batch_normalisations_of_every_kind(norm):
    model = nn.Sequential(nn.Linear(4, 8), copy.deepcopy(norm), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[1].running_mean.copy_(torch.randn(8))
        model[1].running_var.copy_(torch.rand(8) + 0.1)
        for parameter in model[1].parameters():
            parameter.copy_(torch.randn(8))
    assert_same_function(model)


def test_another_type_may_be_asked_for():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    assert assert_same_function(model, 1e-14, dtype="float64").dtype == np.float64
    assert assert_same_function(model.double(), dtype="float32").dtype == np.float32


def test_inputs_far_from_0_keep_their_digits_in_float64():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    model[0].running_mean.fill_(1e6)
    net = from_torch(model, dtype="float64")
    x = 1e6 + RNG.standard_normal((40, 4))
    assert relative(net.predict(x), outputs(model, x)) < 1e-8


# --- the model stays as it is ---------------------------------------------------------------------


def state_of(model):
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        {name: len(module._forward_hooks) for name, module in model.named_modules()},
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
    )


@pytest.mark.parametrize("way", ["taken", "refused", "cannot be run"])
def test_modes_weights_and_random_states_stay(way, monkeypatch):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 4), nn.Softplus())
    model[1].eval()

    def forward(self, x):
        torch.rand(10)
        np.random.standard_normal(10)
        if way == "cannot be run":
            raise RuntimeError("no memory")
        return nn.functional.softplus(x) + (way == "refused")

    monkeypatch.setattr(nn.Softplus, "forward", forward)
    before = state_of(model)
    if way == "refused":
        with refused("module 3"):
            from_torch(model)
    elif way == "taken":
        from_torch(model)
    else:
        with pytest.warns(UserWarning, match=says("RuntimeError: no memory", "not verified")):
            from_torch(model)
    after = state_of(model)
    assert (before[0], before[2]) == (after[0], after[2])
    for name, tensor in before[1].items():
        assert torch.equal(tensor, after[1][name])
    assert torch.equal(before[3], after[3])
    np.testing.assert_array_equal(before[4], after[4])


def test_the_log_says_what_became_of_every_module(caplog):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU())
    with caplog.at_level(logging.INFO, "chainrule"):
        from_torch(model)
    lines = [record.getMessage() for record in caplog.records]
    for line, words in zip(lines, ["taken", "folded", "dropped", "taken", "69 rows"], strict=True):
        assert words in line


# --- random models --------------------------------------------------------------------------------

ACTIVATIONS = [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.Softplus, nn.SiLU]


@st.composite
def models(draw):
    """Blocks of one width, some of them used again, with BatchNorm1d and Dropout in any mode."""
    width = draw(st.integers(1, 6))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    known = []

    def block():
        modules = [nn.Linear(width, width, bias=draw(st.booleans()))]
        if draw(st.booleans()):
            modules.append(nn.BatchNorm1d(width, affine=draw(st.booleans())))
        modules.append(draw(st.sampled_from(ACTIVATIONS))())
        for kind in draw(st.lists(st.sampled_from([nn.Dropout, nn.Identity, nn.Flatten]))):
            modules.insert(draw(st.integers(0, len(modules))), kind())
        known.append(nn.Sequential(*modules))
        return known[-1]

    blocks = []
    for _ in range(draw(st.integers(1, 4))):
        again = draw(st.sampled_from(known)) if known and draw(st.booleans()) else block()
        blocks.append(nn.Sequential(again) if draw(st.booleans()) else again)
    start = [nn.BatchNorm1d(width)] if draw(st.booleans()) else []
    model = nn.Sequential(*start, *blocks, nn.Linear(width, draw(st.integers(1, 4))))
    for _ in range(3):
        model(torch.randn(20, width) * 3 + 1)  # running statistics
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return model.train(draw(st.booleans())).to(dtype)


@settings(max_examples=150)
@given(model=models(), verified=st.booleans())
def test_what_comes_in_is_the_model(model, verified):
    with pytest.MonkeyPatch.context() as patch:
        if not verified:  # the rules must be right by themselves
            patch.setattr("chainrule.torch.verify", lambda *arguments: None)
        bound = 1e-11 if next(model.parameters()).dtype == torch.float64 else 2e-5
        assert_same_function(model, bound)


@pytest.mark.parametrize("types", [("float64", "float32"), ("float32",)], ids="+".join)
def test_large_networks_of_float32_come_in(types, monkeypatch):
    run, ran = agreement._run, []

    def in_these(original, rows, *dtypes):
        ran.append(run(original, rows, *types))
        return ran[-1]

    monkeypatch.setattr(agreement, "_run", in_these)
    for seed in range(50 if types == ("float32",) else 10):
        torch.manual_seed(seed)
        kind = [nn.ReLU, nn.Tanh, nn.GELU][seed % 3]
        model = nn.Sequential(nn.Linear(784, 256), kind(), nn.Linear(256, 128), kind())
        model.extend([nn.Linear(128, 10), nn.Softmax(-1)][: 1 + seed % 2])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_([1, 3, 10, 30][seed % 4])
        from_torch(model)
    assert {dtype for dtype, _ in ran} == {types[0]}
