"""Fixtures and markers of the whole suite."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

import chainrule as cr

MARKERS = {
    "browser": "drives Chromium, where it is installed with chromedriver and Selenium",
    "bits": "compares results bit by bit (the arithmetic contract)",
    "peers": "compares with a framework that the [test] extra does not install",
    "slow": "takes seconds that not every run has: .ci/run runs it",
    "thorough": "takes a minute or more: .ci/long runs it, and pytest -m thorough",
    "unsanitized": "does not fit under AddressSanitizer: it measures memory, or loads a framework",
}

#: True in the build with AddressSanitizer, which replaces malloc and makes everything slower.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

hypothesis.settings.register_profile("local", deadline=None, max_examples=50, database=None)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SANITIZED:
        skip = pytest.mark.skip(reason=MARKERS["unsanitized"])
        for item in items:
            if item.get_closest_marker("unsanitized"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Let no test that collects garbage look for it in 400,000 objects of the test run itself."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: as many processes as a call may have threads, by affinity and quota."""
    return cr.get_num_threads()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each process gets a half of the files in a row, and later what another has left.

    So what a module's fixtures make, often in another process, is made once and not in each.
    """
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of the IDX files of Debian's package dataset-fashion-mnist."""
    if not FASHION_MNIST.is_dir():
        pytest.skip(f"{FASHION_MNIST} is absent: apt install dataset-fashion-mnist")
    return FASHION_MNIST
