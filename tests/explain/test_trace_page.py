"""The page of a trace in a browser: its numbers, its controls, keyboard, themes and widths.

Runs in Chromium without a window, where chromium, chromedriver and Selenium are installed.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from support import HIDDEN, OUTPUT_PAIRS, random_network, random_targets

selenium = pytest.importorskip(
    "selenium", reason='Selenium is not installed: pip install "chainrule[test-browser]"'
)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.unsanitized]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


@dataclass
class Browser:
    """A page that is shown, and what the tests ask of it."""

    driver: Any

    def actions(self) -> Any:
        return webdriver.ActionChains(self.driver, duration=0)

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {code}", *arguments)

    def emulate(self, width: int = 1280, **media: str) -> None:
        features = {"prefers-color-scheme": "light", "prefers-reduced-motion": "no-preference"}
        features |= {name.replace("_", "-"): value for name, value in media.items()}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": n, "value": v} for n, v in features.items()]},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )

    def open(self, path: str) -> None:
        self.driver.get(f"file://{path}")

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """As a mouse does: on whatever lies on top in the middle of the element."""
        self.actions().move_to_element(self.find(selector)).click().perform()

    def press(self, *keys: str) -> None:
        self.actions().send_keys(*keys).perform()

    def select(self, **focus: Any) -> None:
        """Ask for a neuron or weight by its numbers, in the form under the formulas."""
        for name, value in focus.items():
            field = self.find(f"input[name={name}]")
            field.clear()
            field.send_keys("" if value is None else str(value))
        self.find(".locator button").click()

    def choose(self, sample: str) -> None:
        self.find(f"#sample option[value='{sample}']").click()

    def rate(self, eta: float) -> None:
        """Move the slider of the learning rate by its arrow keys."""
        rates = sorted(float(f"{m}e{e}") for m in (1, 1.5, 2, 3, 5, 7) for e in range(-4, 1))
        slider = self.find("#eta")
        slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * rates.index(eta))
        assert float(slider.get_attribute("aria-valuetext")) == eta

    def step(self) -> int:
        return int(self.script("document.getElementById('step').value"))

    def number(self, quantity: str) -> float:
        """A number of the page, which has to print as six digits of what it is."""
        element = self.find(f"[data-quantity='{quantity}']")
        value = float(element.get_attribute("data-value"))
        assert printed(element.text) == pytest.approx(value, rel=5e-6)
        return value

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def printed(text: str) -> float:
    """Read −1.5×10⁻⁷."""
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    match = re.fullmatch(r"(−?[\d.]+)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert match, text
    return float(f"{match[1].replace('−', '-')}e{(match[2] or '0').translate(raised)}")


@pytest.fixture(scope="module")
def driver():
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium is absent: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


@pytest.fixture
def browser(driver):
    browser = Browser(driver)
    browser.emulate()
    yield browser
    assert browser.errors() == []


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of a network's trace, open it, and return the browser."""

    def show(net, x, y, **options):
        browser.open(net.trace(x, y).to_html(tmp_path / "trace.html", **options))
        return browser

    return show


@pytest.fixture
def worked_example():
    """1-1-1, sigmoid, half_mse: the numbers of test_worked_example.py."""
    net = cr.Network([1, 1, 1], "sigmoid", "half_mse", dtype="float64", seed=0)
    net.set_parameters([0.5, 0.1, -0.3, 0.2])
    return net


@pytest.fixture
def exclusive_or(rng):
    net = random_network(rng, [2, 3, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    return net, np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])


@pytest.fixture
def deep(rng):
    net = random_network(rng, [3, 4, 5, 2], ["tanh", "gelu", "sigmoid"], "half_mse")
    return net, rng.normal(size=3), rng.random(2)


@pytest.fixture
def digits(rng):
    net = cr.Network([784, 128, 10], ["tanh", "softmax"], "cross_entropy", seed=1)
    return net, rng.random((3, 784)).astype(np.float32), np.array([3, 1, 4])


# --- the arithmetic of the page ---------------------------------------------------------------


def layers_of(net):
    return {
        "sizes": net.sizes,
        "activations": net.activations,
        "loss": net.loss,
        "weights": [w.ravel().tolist() for w in net.weights],
        "biases": [b.tolist() for b in net.biases],
    }


def traced(browser, net, x, y):
    """One sample's trace as the page computes it."""
    return browser.script(
        """(([net, x, y]) => {
            const one = Arithmetic.trace(net, { x, y: Float64Array.from(y) });
            const plain = (v) => v.length === undefined ? v : Array.from(v, plain);
            return Object.fromEntries(Object.entries(one).map(([k, v]) => [k, plain(v)]));
        })(arguments)""",
        layers_of(net),
        x.tolist(),
        y.tolist(),
    )


NAMES = {"a": "a", "z": "z", "gPrime": "g_prime", "dCda": "dC_da", "delta": "delta"}


def assert_traces(browser, net, x, y):
    ours, trace = traced(browser, net, x, y), net.trace(x, y)
    assert ours["cost"] == pytest.approx(trace.cost, rel=1e-12)
    for theirs, name in NAMES.items():
        for numbers, expected in zip(ours[theirs], getattr(trace, name), strict=True):
            message = f"{name} of {net!r}"
            np.testing.assert_allclose(numbers, expected, 1e-11, 1e-14, err_msg=message)


def test_the_page_computes_every_loss_as_the_library(rng, show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    for output, loss in OUTPUT_PAIRS:
        net = random_network(rng, [3, 4, 3], ["tanh", output], loss)
        assert_traces(page, net, rng.normal(size=3), random_targets(rng, 1, 3, loss, output)[0])


def test_the_page_computes_every_activation_as_the_library(rng, show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    x = np.array([-36.0, -9.0, -4.1, -3.9, -1.0, -1e-6, 0.0, 1e-6, 0.3, 2.0, 4.1, 9.0, 36.0])
    for hidden in HIDDEN:
        net = cr.Network([13, 13, 1], [hidden, "identity"], "mse", dtype="float64", seed=0)
        net.weights[0][...] = np.eye(13)
        assert_traces(page, net, x, np.array([0.5]))


def test_probabilities_of_zero_cost_no_nan(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    net = cr.Network([1, 3], "softmax", "cross_entropy", dtype="float64", init="zeros", seed=0)
    net.biases[0][...] = [0.0, -800.0, 1.0]
    ours = traced(page, net, np.array([1.0]), np.array([0.0, 0.0, 1.0]))
    assert ours["cost"] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-12)
    assert ours["dCda"][0][1] == 0
    np.testing.assert_allclose(ours["delta"][0], net.trace([1.0], [0, 0, 1]).delta[0], rtol=1e-12)


# --- neurons and weights ----------------------------------------------------------------------


def test_a_click_on_a_weight_shows_the_three_factors_of_its_gradient(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    page.click("[data-edge='2,0,0']")
    gradient = worked_example.gradients([1.0], [1.0]).weights[1].item()
    assert page.number("gradient") == pytest.approx(gradient, rel=1e-12)
    factors = [page.number(name) for name in ("dC_da", "da_dz", "dz_dw")]
    assert factors == [pytest.approx(v, abs=1e-9) for v in (-0.498424228, 0.249997517, 0.645656306)]
    assert "0.501576 − 1" in page.find("#formulas").text
    assert page.number("updated") == pytest.approx(-0.3 - 0.5 * gradient, rel=1e-12)


def test_a_hidden_weight_unfolds_the_sum_over_the_next_layer(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-edge='1,2,0']")
    trace = net.trace(x, y)
    shown = [
        printed(cell.text)
        for cell in page.find("table.sum").find_elements(By.CSS_SELECTOR, "td:last-child")
    ]
    expected = net.weights[1][:, 2] * trace.delta[1]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    page.find("details:nth-of-type(2) summary").click()
    unfolded = page.find("details[open]").text
    assert f"{trace.delta[1][1]:.4f}".replace("-", "−")[:6] in unfolded
    assert "layer 3" in unfolded


def test_every_weight_has_its_entry_of_gradients(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    for layer, gradient in enumerate(net.gradients(x, y).weights, start=1):
        slopes = page.script(
            f"[...Array({gradient.shape[0]}).keys()].map(j => "
            f"[...Array({gradient.shape[1]}).keys()].map(k => Page.model.slope({layer}, j, k)))"
        )
        np.testing.assert_allclose(slopes, gradient, rtol=1e-11)


def test_a_click_on_a_neuron_shows_its_pass_forward_and_back(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    trace = net.trace(x, y)
    for layer, j in ((1, 3), (2, 0), (3, 1)):
        page.click(f"[data-key='n{layer},{j}']")
        assert f"of layer {layer}" in page.find("h2").text
        for name, array in (
            ("z", trace.z[layer - 1]),
            ("a", trace.a[layer]),
            ("dC_da", trace.dC_da[layer - 1]),
            ("da_dz", trace.g_prime[layer - 1]),
            ("delta", trace.delta[layer - 1]),
            ("gradient", trace.grad_biases[layer - 1]),
        ):
            assert page.number(name) == pytest.approx(array[j], rel=1e-11), name


def test_a_bias_is_selected_in_the_sum_of_its_neuron(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-key='n2,4']")
    page.find("[aria-label='Bias of neuron 4']").click()
    assert page.number("gradient") == pytest.approx(net.gradients(x, y).biases[1][4], rel=1e-11)


def test_a_network_without_biases_shows_none(rng, show):
    net = random_network(rng, [2, 3, 1], "tanh", "mse", bias=False)
    page = show(net, rng.normal(size=2), np.array([0.5]))
    page.click("[data-key='n1,1']")
    assert "b" not in {i.text for i in page.find("#formulas").find_elements(By.TAG_NAME, "i")}


def test_the_cost_shows_its_formula(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-key='cost']")
    assert page.number("cost") == pytest.approx(net.cost(x, y), rel=1e-12)


def test_softmax_shows_the_sum_over_the_outputs(rng, show):
    net = random_network(rng, [3, 4], "softmax", "sse")
    x, y = rng.normal(size=3), rng.random(4)
    page = show(net, x, y)
    page.select(layer=1, neuron=2, **{"from": 1})
    assert page.number("gradient") == pytest.approx(net.gradients(x, y).weights[0][2, 1], rel=1e-11)
    assert len(page.find("table.sum").find_elements(By.TAG_NAME, "tr")) == 4


# --- several samples --------------------------------------------------------------------------


def test_the_mean_of_the_samples_is_that_of_gradients(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    page.choose("mean")
    page.click("[data-edge='1,2,1']")
    gradients = net.gradients(x, y)
    assert page.number("gradient") == pytest.approx(gradients.weights[0][2, 1], rel=1e-11)
    assert page.number("cost-now") == pytest.approx(gradients.cost, rel=1e-12)


def test_each_sample_can_be_chosen(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    for i in (3, 1):
        page.choose(str(i))
        page.click("[data-edge='2,0,1']")
        expected = net.gradients(x[i], y[i])
        assert page.number("gradient") == pytest.approx(expected.weights[1][0, 1], rel=1e-11)
        assert page.number("cost-now") == pytest.approx(expected.cost, rel=1e-12)


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
    WebDriverWait(page.driver, 10, 0.05).until(lambda _: page.step() == 2)
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


# --- keyboard, names, themes, widths ----------------------------------------------------------


# By an outline; in the drawing by a wide stroke of the part in its middle.
FOCUS_SHOWS = """((e) => {
    if (e === document.body) return true;
    const part = e.querySelector(".neuron, .frame, rect");
    if (e.closest("svg") && part) return getComputedStyle(part).strokeWidth === "9px";
    return getComputedStyle(e).outlineStyle !== "none";
})(document.activeElement)"""


def test_tab_reaches_every_neuron_and_control(show, exclusive_or):
    page = show(*exclusive_or)
    page.press(Keys.HOME, Keys.ARROW_RIGHT)
    wanted = page.script(
        "[...document.querySelectorAll("
        "'button:not(:disabled), select, input, [data-key], summary')]"
        ".filter(e => e.checkVisibility()).length"
    )
    reached = set()
    for _ in range(wanted + 1):
        page.press(Keys.TAB)
        reached.add(
            page.script("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
        assert page.script(FOCUS_SHOWS)
    assert len(reached) >= wanted


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_a_key_selects_the_focused_neuron(show, exclusive_or, key):
    page = show(*exclusive_or)
    page.script("document.querySelector('[data-key=\"n1,2\"]').focus()")
    page.press(key)
    assert page.find("h2").text == "Neuron j = 2 of layer 1"
    assert page.find("[data-key='n1,2']").get_attribute("aria-pressed") == "true"


def test_a_link_followed_by_keyboard_leaves_the_focus_in_the_formulas(show, deep):
    page = show(*deep)
    page.click("[data-key='n2,1']")
    page.script("document.querySelector('#formulas .link').focus()")
    page.press(Keys.ENTER)
    assert page.script("document.activeElement.matches('#formulas h2')")
    assert page.find("h2").text.startswith("Weight")


def test_every_control_has_a_name(show, digits):
    page = show(*digits)
    nameless = page.script(
        "[...document.querySelectorAll('button, select, input, [role=button], [role=slider]')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []
    label = page.find("[data-key='n2,3']").get_attribute("aria-label")
    assert re.fullmatch(r"Neuron 3 of layer 2, z [\d.−]+, a [\d.−]+, δ [\d.−]+", label)


CONTRAST = """(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (colour) => {
        const [r, g, b] = rgb(colour).slice(0, 3).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (e) => {
        while (rgb(getComputedStyle(e).backgroundColor)[3] < 255) e = e.parentElement;
        return getComputedStyle(e).backgroundColor;
    };
    const ratio = (p, q) => {
        const [low, high] = [light(p), light(q)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const tags = "p, h1, h2, h3, button:not(:disabled), dt, dd, td, .math, label, summary";
    const plain = [...document.querySelectorAll(tags)].map((e) =>
        ratio(getComputedStyle(e).color, ground(e)));
    const fill = (e, part) => getComputedStyle(e.querySelector(part)).fill;
    const inside = [...document.querySelectorAll(".unit:not(.cost)")].map((e) =>
        ratio(fill(e, ".value"), fill(e, ".neuron")));
    return Math.min(...plain, ...inside);
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_either_theme(show, deep, scheme):
    page = show(*deep)
    page.emulate(prefers_color_scheme=scheme)
    assert page.script(CONTRAST) >= 4.5


def test_the_theme_follows_the_system_and_the_button(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.script(ground)
    page.emulate(prefers_color_scheme="dark")
    dark = page.script(ground)
    assert light == "rgb(255, 255, 255)" != dark
    page.find("#theme").click()
    assert page.script(ground) == light
    page.find("#theme").click()
    assert page.script(ground) == dark


@pytest.mark.parametrize("problem", ["worked_example", "exclusive_or", "deep", "digits"])
def test_a_phone_shows_the_page_without_scrolling_sideways(request, show, problem):
    value = request.getfixturevalue(problem)
    page = show(*(value if isinstance(value, tuple) else (value, [1.0], [1.0])))
    page.emulate(width=360)
    assert page.script("document.documentElement.scrollWidth") <= 360
    for selector in ("[data-key='n1,0']", "[data-key='cost']"):
        page.script("arguments[0].dispatchEvent(new MouseEvent('click'))", page.find(selector))
        assert page.script("document.documentElement.scrollWidth") <= 360


# --- wide networks, odd numbers, names --------------------------------------------------------


def test_a_wide_layer_has_every_neuron_as_a_cell(show, digits):
    net, x, y = digits
    page = show(net, x, y)
    page.click("[data-key='c1,a'] .cell:nth-of-type(102)")  # after the frame, counted from 1
    trace = net.trace(x[0], y[0])
    assert page.find("h2").text == "Neuron j = 100 of layer 1"
    assert page.number("delta") == pytest.approx(trace.delta[0][100], rel=2e-5)
    page.script("document.querySelector('[data-key=\"c1,a\"]').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.find("h2").text == "Neuron j = 101 of layer 1"
    assert page.step() == page.script("Page.steps.length - 1")


def test_any_weight_of_a_wide_network_can_be_asked_for(show, digits):
    net, x, y = digits
    page = show(net, x, y)
    page.select(layer=1, neuron=77, **{"from": 400})
    expected = net.gradients(x[0], y[0]).weights[0][77, 400]
    assert page.number("gradient") == pytest.approx(expected, rel=2e-5)
    page.rate(0.0005)
    page.find("#one").click()
    net.train_step(x[0], y[0], learning_rate=0.0005)
    assert page.number("cost-now") == pytest.approx(net.cost(x[0], y[0]), rel=1e-5)


def test_a_network_too_large_to_embed_shows_the_numbers_of_its_trace(rng, show):
    net = cr.Network([600, 500, 12, 4], ["relu", "tanh", "identity"], "mse", seed=1)
    x, y = rng.normal(size=(30, 600)), rng.normal(size=(30, 4))
    page = show(net, x, y)
    trace = net.trace(x[0], y[0])
    assert not page.find("#descent").is_displayed()
    page.select(layer=2, neuron=7, **{"from": None})
    assert page.number("z") == pytest.approx(trace.z[1][7], rel=1e-6)
    assert page.number("delta") == pytest.approx(trace.delta[1][7], rel=1e-6)
    products = [
        printed(cell.text)
        for cell in page.find("table.sum").find_elements(By.CSS_SELECTOR, "td:last-child")
    ]
    assert sum(products) == pytest.approx(trace.z[1][7], abs=1e-5)
    page.select(layer=1, neuron=333, **{"from": 123})
    gradient = net.gradients(x[0], y[0]).weights[0][333, 123]
    assert page.number("gradient") == pytest.approx(gradient, rel=1e-5, abs=1e-12)


def test_numbers_that_are_not_finite_are_shown(show):
    net = cr.Network([2, 2, 1], ["relu", "identity"], "mse", init="zeros", seed=0)
    net.weights[0][0, 0] = np.inf
    page = show(net, [1.0, 2.0], [0.0])
    page.click("[data-key='n1,0']")
    assert "∞" in page.find("#formulas").text
    page.find("#one").click()


def test_a_probability_rounded_to_its_limit_is_explained(show):
    net = cr.Network([1, 1], "sigmoid", "binary_cross_entropy", dtype="float64", seed=0)
    net.biases[0][0] = 800.0
    page = show(net, [0.0], [0.0])
    page.click("[data-key='n1,0']")
    assert "without a division, as (aj − yj)/nL" in page.find("#formulas").text
    assert page.number("delta") == 1


def test_titles_and_names_are_shown_as_they_are(show, exclusive_or):
    title, names = "</script><b>&amp;", ["<i>left</i>", 'a "right" one']
    page = show(*exclusive_or, title=title, input_names=names, output_names=["<&>"])
    assert page.find("h1").text == title
    page.script("document.querySelector('[data-key=\"n0,1\"]').focus()")
    page.press(Keys.ENTER)
    assert page.find("h2 .tag").text == names[1]
    assert page.find("[data-key='n2,0']").get_attribute("aria-label").startswith("Neuron <&> of")


def test_the_page_loads_nothing(show, deep):
    page = show(*deep)
    assert page.script("performance.getEntriesByType('resource').length") == 0
