"""Schedules against the formulas with libm's cosine and powers, and how fit feeds them."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import schedules
from chainrule.schedules import (
    Cosine,
    ExponentialDecay,
    OneCycle,
    ReduceOnPlateau,
    StepDecay,
    Warmup,
)
from support import assert_same_bits, random_network

ALL = [
    StepDecay(0.1, 30, gamma=0.5),
    ExponentialDecay(0.1, 0.999),
    Cosine(0.1, 100, final=0.01, warmup_steps=20, warmup_start=0.001),
    OneCycle(0.1, 100),
    OneCycle(0.1, 100, anneal="linear", three_phase=True),
    Warmup(0.1, 10),
    Warmup(Cosine(0.1, 100), 10, start=0.01),
    ReduceOnPlateau(0.1, factor=0.5, patience=2, threshold_mode="abs"),
]


def close(value):
    return pytest.approx(value, rel=1e-13, abs=1e-16)


# --- the cosine -------------------------------------------------------------------------------


def test_the_cosine_is_right_to_two_ulp(rng):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        for t in rng.random(3000).tolist():
            exact = mpmath.cospi(mpmath.mpf(t))
            assert abs(schedules.cos_pi(t) - exact) <= 2 * math.ulp(float(exact))


def test_the_cosine_is_exact_where_it_can_be():
    assert [schedules.cos_pi(t) for t in (0.0, 0.5, 1.0)] == [1.0, 0.0, -1.0]


def test_the_cosine_is_odd_about_one_half():
    for i in range(257):
        assert schedules.cos_pi(i / 512) == -schedules.cos_pi(1 - i / 512)


@pytest.mark.bits
def test_the_bits_of_a_cosine_and_of_a_power():
    assert Cosine(0.1, 7)(3).hex() == "0x1.f4be9c700744fp-5"
    assert ExponentialDecay(0.1, 0.999)(1000).hex() == "0x1.2d3751cdb248ap-5"


# --- formulas ---------------------------------------------------------------------------------


def test_step_decay():
    for step in (0, 29, 30, 59, 60, 301):
        assert StepDecay(0.1, 30, gamma=0.5)(step) == close(0.1 * 0.5 ** (step // 30))


def test_exponential_decay():
    for step in (0, 1, 2, 77, 5000):
        assert ExponentialDecay(0.1, 0.999)(step) == close(0.1 * 0.999**step)


def test_cosine_from_first_to_last():
    schedule = Cosine(0.1, 50, final=0.01)
    for step in range(51):
        expected = 0.01 + 0.09 * (1 + math.cos(math.pi * step / 50)) / 2
        assert schedule(step) == close(expected)
    assert schedule(10**9) == 0.01


def test_cosine_warms_up_first():
    schedule = Cosine(0.1, 50, warmup_steps=10, warmup_start=0.02)
    assert [schedule(step) for step in range(11)] == [close(0.02 + 0.008 * i) for i in range(11)]
    assert schedule(30) == close(0.05)


def test_one_cycle():
    schedule = OneCycle(1.0, 100, pct_start=0.3, div_factor=10, final_div_factor=100)
    assert schedule(0) == close(0.1)
    assert schedule(29) == close(1.0)
    assert schedule(99) == close(0.001)
    assert schedule(1000) == close(0.001)
    assert schedule(64) == close((1 + 0.001) / 2)  # half-way down


def test_one_cycle_in_three_linear_phases():
    schedule = OneCycle(
        1.0, 100, 0.3, "linear", div_factor=10, final_div_factor=100, three_phase=True
    )
    for step, expected in [(0, 0.1), (29, 1.0), (58, 0.1), (99, 0.001)]:
        assert schedule(step) == close(expected)
    assert schedule(10) == close(0.1 + 0.9 * 10 / 29)


@pytest.mark.parametrize("pct_start", [0.0, 0.01, 1.0])
def test_one_cycle_has_no_phase_of_length_zero_to_divide_by(pct_start):
    schedule = OneCycle(1.0, 100, pct_start)
    assert all(0 <= schedule(step) <= 1 for step in range(101))


def test_warm_up_before_another_schedule():
    schedule = Warmup(StepDecay(0.1, 5), 10, start=0.02)
    assert [schedule(step) for step in (0, 5)] == [close(0.02), close(0.06)]
    assert [schedule(step) for step in (10, 14, 15)] == [close(0.1), close(0.1), close(0.01)]


def test_warm_up_before_a_constant_and_a_function():
    assert [Warmup(0.1, 4)(step) for step in (0, 1, 4, 9)] == [0.0, 0.025, 0.1, 0.1]
    assert Warmup(lambda step: 1.0 + step, 4)(7) == 4.0


# --- the plateau ------------------------------------------------------------------------------


def rates(schedule, costs):
    seen = []
    for cost in costs:
        schedule.observe(cost)
        seen.append(schedule(0))
    return seen


def test_the_rate_falls_after_more_than_patience_epochs_without_improvement():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert rates(schedule, [3, 2, 2, 2, 2, 2]) == [1, 1, 1, 0.5, 0.5, 0.25]
    assert schedule.best == 2


def test_an_improvement_begins_the_count_again():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert rates(schedule, [3, 3, 2, 2, 1, 1, 1]) == [1, 1, 1, 1, 1, 1, 0.5]


def test_an_improvement_is_more_than_the_threshold():
    relative = ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1)
    assert rates(relative, [10, 9.1, 8.9]) == [1, 0.5, 0.5]
    absolute = ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1, threshold_mode="abs")
    assert rates(absolute, [10, 9.95, 9.85]) == [1, 0.5, 0.5]


def test_nothing_is_counted_while_it_cools_down():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0, cooldown=2)
    assert rates(schedule, [1] * 5) == [1, 0.5, 0.5, 0.5, 0.25]


def test_the_rate_stops_at_the_least_one_and_before_a_tiny_fall():
    assert rates(ReduceOnPlateau(1.0, patience=0, min_rate=0.3), [1] * 4) == [1, 0.3, 0.3, 0.3]
    assert rates(ReduceOnPlateau(1.0, 0.5, patience=0, eps=0.4), [1] * 4) == [1, 0.5, 0.5, 0.5]


def test_a_cost_of_nan_is_no_improvement():
    schedule = ReduceOnPlateau(1.0, factor=0.5, patience=0)
    assert rates(schedule, [2, math.nan, 1]) == [1, 0.5, 0.5]


def test_a_plateau_goes_on_from_its_state():
    schedule, costs = ReduceOnPlateau(1.0, 0.5, patience=1, cooldown=1), [3, 2, 2, 2, 2, 2, 2, 2]
    for n in range(len(costs)):
        schedule.reset()
        rates(schedule, costs[:n])
        state = json.loads(json.dumps(schedule.state_dict(), allow_nan=False))
        twin = ReduceOnPlateau(1.0, 0.5, patience=1, cooldown=1)
        twin.load_state_dict(state)
        assert twin == schedule
        assert rates(twin, costs[n:]) == rates(schedule, costs[n:])


@pytest.mark.parametrize(
    "state", [{}, {"rate": 1.0}, {"rate": -1, "best": None, "bad_epochs": 0, "cooldown_left": 0}]
)
def test_a_state_that_is_none_is_refused(state):
    schedule = ReduceOnPlateau(1.0)
    with pytest.raises(ValueError, match="rate"):
        schedule.load_state_dict(state)
    assert schedule == ReduceOnPlateau(1.0)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Warmup(s, 1)], ids=["bare", "warmed up"])
def test_fit_feeds_a_plateau_with_the_cost_it_monitors(rng, wrap):
    net = random_network(rng, [3, 4, 2])
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    seen = []

    class Spy(ReduceOnPlateau):
        def observe(self, cost):
            seen.append(cost)
            super().observe(cost)

    history = net.fit(x, y, epochs=3, learning_rate=wrap(Spy(0.1)))
    assert seen == history.cost
    seen.clear()
    history = net.fit(x, y, epochs=3, learning_rate=wrap(Spy(0.1)), validation_data=(x, y))
    assert seen == history.validation_cost


def test_the_rate_of_an_epoch_is_what_the_epochs_before_it_left(rng):
    net = random_network(rng, [3, 4, 2])
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    schedule = ReduceOnPlateau(0.1, factor=0.5, patience=0, threshold=10, threshold_mode="abs")
    history = net.fit(x, y, epochs=4, learning_rate=schedule)
    assert history.learning_rate == [0.1, 0.1, 0.05, 0.025]


# --- with optimisers --------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_training_with_a_schedule_goes_on_from_a_state_with_the_same_bits(rng, schedule):
    net = random_network(rng, [3, 4, 2])
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    optimizer = cr.Adam(copy.deepcopy(schedule))
    net.fit(x, y, epochs=6, batch_size=4, optimizer=optimizer)
    twin, continued = copy.deepcopy(net), cr.Adam(copy.deepcopy(schedule))
    continued.load_state_dict(twin, optimizer.state_dict())
    for model, with_state in ((net, optimizer), (twin, continued)):
        model.fit(x, y, epochs=6, batch_size=4, optimizer=with_state)
    assert_same_bits(twin.get_parameters(), net.get_parameters())


def test_reset_of_an_optimizer_resets_its_schedule():
    optimizer = cr.SGD(Warmup(ReduceOnPlateau(1.0, 0.5, patience=0), 1))
    optimizer.observe(1.0)
    optimizer.observe(1.0)
    assert optimizer.rate_at(5) == 0.5
    optimizer.reset()
    assert optimizer.rate_at(5) == 1.0


# --- objects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_a_schedule_survives_pickle_and_copy_and_its_repr_makes_it_again(schedule):
    for twin in (
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(schedules)),
    ):
        assert twin == schedule
        assert [twin(step) for step in range(0, 200, 7)] == [
            schedule(step) for step in range(0, 200, 7)
        ]


def test_schedules_with_other_arguments_differ():
    assert StepDecay(0.1, 30) != StepDecay(0.1, 31)
    assert ReduceOnPlateau(0.1) != ReduceOnPlateau(0.2)
    assert ReduceOnPlateau(0.1) != 0.1


def test_the_arguments_of_a_schedule_are_fixed():
    schedule = StepDecay(0.1, 30)
    with pytest.raises(AttributeError, match="StepDecay.gamma is fixed"):
        schedule.gamma = 0.5
    assert hash(schedule) == hash(StepDecay(0.1, 30))


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_a_schedule_takes_steps_of_any_integer_type(schedule):
    assert schedule(np.int64(3)) == schedule(3)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: StepDecay(-1, 3), "learning_rate must be finite and >= 0, got -1"),
        (lambda: StepDecay(0.1, 0), "step_size must be at least 1, got 0"),
        (lambda: StepDecay(0.1, 3, 0.0), "gamma must be above 0"),
        (lambda: ExponentialDecay(0.1, math.inf), "gamma must be finite"),
        (lambda: Cosine(0.1, 0), "total_steps must be at least 1"),
        (lambda: Cosine(0.1, 5, warmup_steps=5), "warmup_steps must be less than total_steps"),
        (lambda: Cosine(math.nan, 5), "learning_rate must be finite"),
        (lambda: OneCycle(0.1, 5, 1.1), r"pct_start must lie in \[0, 1\], got 1.1"),
        (lambda: OneCycle(0.1, 5, 0.6, three_phase=True), r"pct_start must lie in \[0, 0.5\]"),
        (lambda: OneCycle(0.1, 5, anneal="sin"), "anneal must be 'cos' or 'linear', got 'sin'"),
        (lambda: OneCycle(0.1, 5, div_factor=0), "div_factor must be above 0"),
        (lambda: Warmup(-0.1, 5), "then must be finite and >= 0"),
        (lambda: Warmup(0.1, 0), "steps must be at least 1"),
        (lambda: ReduceOnPlateau(0.1, factor=1.0), r"factor must lie in \[0, 1\), got 1"),
        (lambda: ReduceOnPlateau(0.1, factor=0.0), "factor must be above 0"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), "patience must be at least 0"),
        (lambda: ReduceOnPlateau(0.1, threshold=1.0), r"threshold must lie in \[0, 1\)"),
        (lambda: ReduceOnPlateau(0.1, threshold_mode="x"), "threshold_mode must be 'rel' or 'abs'"),
    ],
)
def test_arguments_out_of_range_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()


@pytest.mark.parametrize(
    "make", [lambda: StepDecay("a", 3), lambda: Cosine(0.1, 2.5), lambda: Warmup(0.1, True)]
)
def test_arguments_of_the_wrong_type_are_refused(make):
    with pytest.raises(TypeError, match="must be"):
        make()
