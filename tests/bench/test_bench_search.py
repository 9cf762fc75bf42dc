"""``python -m chainrule bench search``: both classifiers in scikit-learn's grid search."""

from __future__ import annotations

import json

import pytest

from chainrule.bench import report, search
from support import run_bench

pytestmark = pytest.mark.unsanitized


class Answers:
    """A system whose searches take these seconds, one after the other."""

    def __init__(self, *seconds):
        self.seconds = list(seconds)

    def ask(self, method, epochs):
        return {
            "seconds": self.seconds.pop(0),
            "fits": 24,
            "best_score": 0.9,
            "mean_score": 0.8,
            "best_parameters": {"alpha": 0.1},
        }


def test_ratios_are_of_medians():
    held = {"chainrule": Answers(1.0, 9.0, 2.0), "sklearn": Answers(12.0, 10.0, 11.0)}
    found = search.measure(held, 1, (3, 3), 0.0)
    assert found["chainrule"]["seconds"] == 2.0
    assert found["chainrule"]["rounds"] == [1.0, 9.0, 2.0]
    assert "5.50×" in report.search(found)


@pytest.mark.slow
def test_a_quick_search_has_24_fits_of_each(tmp_path):
    pytest.importorskip("sklearn", reason='no scikit-learn: pip install ".[bench]"')
    done = run_bench("search", "--quick", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "search.json").read_text(encoding="utf-8"))["systems"]
    assert {name: result["fits"] for name, result in found.items()} == {
        "chainrule": 24,
        "sklearn": 24,
    }
    for result in found.values():
        assert f"{result['best_score']:.4f}" in done.stdout
