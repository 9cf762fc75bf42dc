"""A page in Chromium, and what tests ask of it. Without Selenium, importing it skips a test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip(
    "selenium", reason='Selenium is not installed: pip install "chainrule[test-browser]"'
)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

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

    def wait_until(self, condition: Callable[[], bool]) -> None:
        WebDriverWait(self.driver, 10, 0.05).until(lambda _: condition())

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def printed(text: str) -> float:
    """Read −1.5×10⁻⁷."""
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    match = re.fullmatch(r"(−?[\d.]+)(?:×10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text)
    assert match, text
    return float(f"{match[1].replace('−', '-')}e{(match[2] or '0').translate(raised)}")


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """Chromium without a window."""
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
