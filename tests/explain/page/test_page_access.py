"""The page of a trace by keyboard, by name, in either theme, on a phone."""

from __future__ import annotations

import re

import pytest

from browser import Keys

pytestmark = [pytest.mark.browser, pytest.mark.unsanitized]


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
        # Found and clicked by one script: the page may draw anew between two.
        page.script(
            "document.querySelector(arguments[0]).dispatchEvent(new MouseEvent('click'))", selector
        )
        assert page.script("document.documentElement.scrollWidth") <= 360
