"""The file that Trace.to_html writes; the tests in page/ look at it in a browser."""

from __future__ import annotations

import base64
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import chainrule as cr
from support import random_network


class Page(HTMLParser):
    """The title, the data and every address of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.elements, self.addresses, self.within = "", [], [], []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.within.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self.within and self.within.pop() != tag:
            pass

    def handle_data(self, data):
        if self.within and self.within[-1] == "title":
            self.title += data
        if self.within and self.within[-1] == "script":
            self.scripts[-1] += data


def numbers(encoded: dict[str, str]) -> np.ndarray:
    dtype = np.dtype(encoded["type"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(encoded["data"]), dtype)


@pytest.fixture
def trace(rng):
    net = random_network(rng, [3, 4, 2], ["tanh", "sigmoid"], "half_mse")
    return net.trace(rng.normal(size=(5, 3)), rng.random((5, 2)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.html"


@pytest.mark.parametrize("kind", [str, lambda path: path, os.fsencode])
def test_the_path_is_returned(trace, path, kind):
    assert trace.to_html(kind(path)) == str(path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_page_holds_the_exact_network_and_samples(rng, path, dtype):
    net = random_network(rng, [3, 4, 2], ["tanh", "sigmoid"], "half_mse", dtype=dtype)
    x, y = rng.normal(size=(5, 3)).astype(dtype), rng.random((5, 2)).astype(dtype)
    net.trace(x, y).to_html(path)
    data = Page(path.read_text(encoding="utf-8")).data
    np.testing.assert_array_equal(numbers(data["parameters"]), net.get_parameters())
    np.testing.assert_array_equal(numbers(data["x"]), x.ravel())
    np.testing.assert_array_equal(numbers(data["y"]), y.ravel())


def test_the_page_refers_to_nothing(trace, path):
    trace.to_html(path)
    text = path.read_text(encoding="utf-8")
    assert Page(text).addresses == []
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and "url(" not in text


def test_text_of_the_user_stays_text(trace, path):
    evil = "</title></script><script>alert(1)</script>\u2028&amp;"
    trace.to_html(path, title=evil, input_names=[evil, "<", "&"], output_names=["a", "b"])
    page = Page(path.read_text(encoding="utf-8"))
    plain = Page(trace_page(trace, path.with_name("plain.html")))
    assert page.title == evil
    assert page.data["inputNames"] == [evil, "<", "&"]
    assert page.elements == plain.elements


def trace_page(trace, path) -> str:
    trace.to_html(path)
    return path.read_text(encoding="utf-8")


def test_the_same_trace_gives_the_same_page(trace, path):
    assert trace_page(trace, path) == trace_page(trace, path)


@pytest.mark.parametrize(
    ("sizes", "samples", "largest"),
    [
        ([784, 128, 10], 500, 900_000),
        ([1000, 2000, 500], 100, 500_000),
        ([2, 3, 1], 10**5, 500_000),
    ],
    ids=str,
)
def test_a_page_stays_small(rng, path, sizes, samples, largest):
    net = cr.Network(sizes, ["tanh", "identity"], "mse", seed=0)
    x, y = rng.normal(size=(samples, sizes[0])), rng.normal(size=(samples, sizes[-1]))
    net.trace(x, y).to_html(path)
    assert path.stat().st_size < largest
    data = Page(path.read_text(encoding="utf-8")).data
    assert data["n"] == samples > len(numbers(data["y"])) // sizes[-1] >= 1


def test_a_page_replaces_a_file_and_leaves_no_other(trace, path):
    path.write_text("old")
    trace.to_html(path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_does_not_exist_is_named(trace, tmp_path):
    path = tmp_path / "none" / "trace.html"
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        trace.to_html(path)


def test_a_folder_is_not_replaced(trace, tmp_path):
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        trace.to_html(tmp_path)
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"input_names": ["a", "b"]}, "input_names must be a sequence of 3 names"),
        ({"output_names": "ab"}, "output_names must be a sequence of 2 names"),
    ],
)
def test_names_have_to_fit_the_layers(trace, path, names, expected):
    with pytest.raises(ValueError, match=expected):
        trace.to_html(path, **names)
    assert not path.exists()


def test_a_trace_of_one_sample_has_a_page(rng, path):
    net = random_network(rng, [3, 4, 2], ["tanh", "softmax"], "cross_entropy")
    net.trace(rng.normal(size=3), 1).to_html(path)
    np.testing.assert_array_equal(numbers(Page(path.read_text(encoding="utf-8")).data["y"]), [0, 1])
