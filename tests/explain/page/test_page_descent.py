"""The controls of the page of a trace: gradient descent, and steps through the network."""

from __future__ import annotations

import re

import numpy as np
import pytest

from browser import By, Keys

pytestmark = [pytest.mark.browser, pytest.mark.unsanitized]


# --- gradient descent -------------------------------------------------------------------------


def test_the_slider_and_one_update_lower_the_cost_as_the_library_does(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    page.choose("mean")
    page.rate(0.7)
    foreseen = page.number("cost-after")
    page.find("#one").click()
    assert net.train_step(x, y, learning_rate=0.7) > net.cost(x, y)
    assert foreseen == pytest.approx(net.cost(x, y), rel=1e-12)
    assert page.number("cost-now") == pytest.approx(net.cost(x, y), rel=1e-12)


def test_ten_updates_and_reset(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    page.choose("mean")
    before = page.number("cost-now")
    page.rate(2)
    page.find("#ten").click()
    for _ in range(10):
        net.train_step(x, y, learning_rate=2)
    assert page.number("cost-now") == pytest.approx(net.cost(x, y), rel=1e-11)
    assert page.number("updates") == 10
    parameters = page.script("Page.model.net.weights.map(w => Array.from(w))")
    np.testing.assert_allclose(
        np.concatenate(parameters), np.concatenate([w.ravel() for w in net.weights]), rtol=1e-11
    )
    page.find("#reset").click()
    assert (page.number("cost-now"), page.number("updates")) == (before, 0)


def test_an_update_takes_the_gradient_of_the_chosen_sample(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    page.choose("2")
    page.rate(0.3)
    page.find("#one").click()
    net.train_step(x[2], y[2], learning_rate=0.3)
    assert page.number("cost-now") == pytest.approx(net.cost(x[2], y[2]), rel=1e-12)


# --- steps ------------------------------------------------------------------------------------


def texts_of(page, layer, j):
    texts = page.find(f"[data-key='n{layer},{j}']").find_elements(By.TAG_NAME, "text")
    return [text.get_attribute("textContent") for text in texts]


def test_steps_go_forward_and_back_through_the_network(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    page.press(Keys.HOME)
    captions, numbers = [], []
    for _ in range(13):
        captions.append(page.find("#caption .formula").text.replace("\n", ""))
        numbers.append((texts_of(page, 1, 0)[1:], texts_of(page, 2, 0)[1:3]))
        page.press(Keys.ARROW_RIGHT)
    assert [re.sub(r"\s", "", c)[:3] for c in captions] == [
        "a0=", "z1=", "a1=", "z2=", "a2=", "C=1", "∂C∂", "δ2=", "∇W2", "∂C∂", "δ1=", "∇W1", "Wl←",
    ]  # fmt: skip
    assert numbers[0] == (["", ""], ["", ""])
    assert numbers[1] == (["0.600", ""], ["", ""])
    assert numbers[2] == (["0.646", ""], ["", ""])
    assert numbers[6] == (["0.646", ""], ["0.502", "∂C/∂a −0.498"])
    assert numbers[7] == (["0.646", ""], ["0.502", "δ −0.125"])
    assert numbers[10] == (["0.646", "δ 0.009"], ["0.502", "δ −0.125"])
    assert page.step() == 12


def test_a_derivative_by_a_layer_is_one_fraction(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    page.press(*[Keys.ARROW_LEFT] * 3)
    fraction = page.find("#caption .fraction")
    assert fraction.text.split() == ["∂C", "∂a1"]


def test_arrow_keys_home_and_end_move_between_steps(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    assert page.step() == 12
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.step() == 10
    page.press(Keys.HOME)
    assert page.step() == 0
    page.press(Keys.END)
    assert page.step() == 12


def test_buttons_move_between_steps(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    steps = []
    for name in ("first", "forward", "forward", "back", "last"):
        page.find(f"#{name}").click()
        steps.append(page.step())
    assert steps == [0, 1, 2, 1, 12]


def test_play_runs_and_pauses(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    page.find("#speed option[value='4']").click()
    page.find("#play").click()
    page.wait_until(lambda: page.step() == 2)
    assert page.find("#play").get_attribute("aria-label") == "Pause"
    page.press(" ")  # the focus is on the button
    assert page.find("#play").get_attribute("aria-label") == "Play"
    assert page.script("Page.state.timer") is None


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_nothing_moves_where_motion_is_to_be_reduced(show, deep, motion, moves):
    page = show(*deep)
    page.emulate(prefers_reduced_motion=motion)
    page.press(Keys.HOME, Keys.ARROW_RIGHT)
    assert bool(page.script("document.getAnimations().length")) is moves
