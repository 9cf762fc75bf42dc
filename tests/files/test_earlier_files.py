"""Files that earlier versions wrote, which every later one loads to the same bits.

They are never written anew. A format that is added comes here with its first release.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule as cr
from support import TESTS

FOLDER = TESTS / "earlier_files"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))


def test_every_file_has_its_answer():
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == set(ANSWERS)


@pytest.mark.bits
@pytest.mark.parametrize("name", ANSWERS)
def test_a_file_of_an_earlier_version_loads_to_the_same_bits(name):
    expected = ANSWERS[name]
    net = cr.Network.load(FOLDER / f"{name}.safetensors")
    for attribute in ("loss", "seed", "epoch"):
        assert getattr(net, attribute) == expected[attribute]
    assert [*net.sizes] == expected["sizes"]
    assert [*net.activations] == expected["activations"]
    assert (net.dtype.name, net.has_bias) == (expected["dtype"], expected["bias"])
    answer = net.predict(np.linspace(-1, 1, net.sizes[0]))
    assert answer.astype(net.dtype.newbyteorder("<")).tobytes().hex() == expected["answer"]
