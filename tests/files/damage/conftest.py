"""A good model file, its bytes and its parts, to be damaged."""

from __future__ import annotations

import numpy as np
import pytest

from damaged import small_network
from handmade import unpack


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture(scope="module")
def net():
    return small_network(np.random.default_rng(0))


@pytest.fixture(scope="module")
def raw(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "net.safetensors"
    net.save(path)
    return path.read_bytes()


@pytest.fixture
def good(raw):
    """The parts of a good file: its header and its data."""
    return unpack(raw)
