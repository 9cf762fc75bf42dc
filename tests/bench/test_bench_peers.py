"""The peers of ``python -m chainrule bench``: what their lines claim, and that they compute it."""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from chainrule.bench import about, cells, command, latency, packages, peers, report, runner, worker
from chainrule.bench.peers import PEERS
from support import run_bench, run_python

pytestmark = pytest.mark.unsanitized

PEER = pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
SMALL = [
    cells.inference(cells.POLICY, 16, "float64"),
    cells.inference(cells.ODD_300, 7),
    cells.inference(cells.TINY, 1),
    cells.sgd(cells.TINY, 1, 20),
    cells.sgd(cells.ODD_300, 10, 40),
    cells.adam(cells.POLICY, 8, 32),
]
COMPILED = cells.inference(cells.POLICY, 16)

#: Reasons that a peer may have not to do a cell of SMALL.
REASONS = {
    "not measured in training",
    "not one of the cells that are compiled",
    "computes float64 in float32",
    "has no squared error of sigmoid outputs",
}
#: What no process but a peer's own may import; chainrule and NumPy are everywhere.
LIBRARIES = {p for peer in PEERS.values() for p in peer.packages} - {"chainrule", "numpy"}


def need(peer):
    if peer.missing:
        pytest.skip(f"without {', '.join(peer.missing)}: pip install '.[bench]'")


@PEER
def test_a_module_has_the_functions_that_its_line_claims(peer):
    module = peer.load()
    assert {name for name in peers.BENCHMARKS if hasattr(module, name)} == set(peer.benchmarks)
    for name in ("start", *peer.benchmarks):
        protocol = [*inspect.signature(getattr(peers.PeerModule, name)).parameters]
        assert ["self", *inspect.signature(getattr(module, name)).parameters] == protocol, name


def test_every_module_has_a_line():
    files = {path.stem for path in Path(peers.__file__).parent.glob("*_.py")} - {"__init__"}
    assert files == {peer.load().__name__.rpartition(".")[2] for peer in PEERS.values()}


def test_peers_are_told_apart_in_pictures():
    for style in ("name", "colour", "marker"):
        assert len({getattr(peer, style) for peer in PEERS.values()}) == len(PEERS)


@PEER
def test_the_extra_installs_what_a_peer_needs(peer):
    extra = [line for line in requires("chainrule") if re.search(r"extra == .bench.", line)]
    installed = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in extra}
    names = packages_distributions()
    for package in set(peer.packages) - {"chainrule", "numpy"}:
        assert installed & {package, *names.get(package, [])}, package


def test_modules_import_no_library():
    loaded = run_python(
        "-c",
        "import sys; from chainrule.bench.peers import PEERS\n"
        "for peer in PEERS.values(): peer.load()\n"
        "print(*sys.modules)",
    )
    assert "chainrule.bench.peers.torch_" in loaded.split()
    assert not LIBRARIES & {*loaded.split()}


def test_help_names_every_peer_and_imports_no_library():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "chainrule", "bench", "--help"],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "chainrule.bench.peers" in imported
    assert not LIBRARIES & imported
    words = done.stdout.replace(",", " ").split()
    assert {*PEERS} <= {*words}


@pytest.mark.slow
@PEER
def test_results_of_installed_peers_are_right(peer):
    if not {*peer.benchmarks} & {*peers.CELLS}:
        pytest.skip(f"{peer.name} is measured in {', '.join(peer.benchmarks)} alone")
    need(peer)
    with runner.processes([peer.name], 1) as held:
        results = [runner.check(cell, held)[peer.name].result for cell in SMALL]
    for result in results:
        assert result["status"] in ("right", "unsupported"), report.verdict(result)
        if result["status"] == "right":
            assert max(result["errors"].values()) <= result["tolerance"] < 1e-2
        else:
            assert result["reason"] in REASONS
    assert peer.name == "torch.compile" or any(result["status"] == "right" for result in results)


@pytest.mark.slow
def test_compiled_results_are_right():
    need(PEERS["torch.compile"])
    with runner.processes(["torch.compile"], 1) as held:
        result = runner.check(COMPILED, held)["torch.compile"].result
    if result["status"] == "unsupported":
        pytest.skip(result["reason"])
    assert result["status"] == "right", report.verdict(result)
    assert len(result["right"]) == 2


@pytest.mark.parametrize("name", peers.names(peers.LATENCY))
def test_names_of_a_variant_share_no_output(name, tmp_path):
    need(PEERS[name])
    pytest.importorskip("onnx", reason='no onnx: pip install ".[bench]"')
    (model,) = [m for m in latency._models(None) if m.name == "tiny"]
    model.write(str(tmp_path))
    module = PEERS[name].load()
    module.start(1)
    for variant in module.latency(str(tmp_path), model.x):
        one, two = worker.Call(variant), worker.Call(variant)
        assert "out" not in one.names or one.names["out"] is not two.names["out"]
        assert (one.results()[0] == two.results()[0]).all()


def test_a_peer_that_does_not_train_says_so():
    asked = worker.Worker("onnxruntime", 1)
    assert asked.prepare(vars(cells.sgd(cells.TINY, 1, 20))) == "not measured in training"


def test_keras_without_a_backend_says_what_it_needs(monkeypatch):
    keras = PEERS["keras"].load()
    monkeypatch.setattr(keras, "missing", lambda packages: [*packages])
    keras.start(1)
    with pytest.raises(peers.UnsupportedError, match="needs one of jax, tensorflow, torch"):
        keras.accuracy(None)


def test_search_takes_the_systems_that_are_listed():
    done = run_bench("search", "--quick", "--systems=numpy")
    assert done.returncode == 2
    assert "no system 'numpy'; there are chainrule, sklearn" in done.stderr


def test_the_protocol_has_a_method_for_each_benchmark():
    methods = {name for name in vars(peers.PeerModule) if not name.startswith("_")}
    assert methods == {"start", *peers.BENCHMARKS}


def test_a_new_line_reaches_commands_help_and_versions(monkeypatch):
    line = peers.Peer("toy", ("pytest",), (peers.INFERENCE, peers.LATENCY), "#000000", "*")
    monkeypatch.setitem(PEERS, "toy", line)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert parser.format_help().count("toy") == 2
    for benchmarks in (peers.CELLS, [peers.LATENCY]):
        assert about.choose_peers("toy", benchmarks) == (["toy"], [])
    assert about.describe(["toy"], [])["versions"] == {"pytest": pytest.__version__}
    with pytest.raises(ValueError, match="no system 'toy'"):
        about.choose_peers("toy", [peers.ACCURACY])


def test_what_a_command_needs_is_named_with_its_installation():
    packages.require("numpy", what="a test")
    with pytest.raises(ValueError, match=r"a test needs nonesuch: pip install .chainrule\[bench\]"):
        packages.require("numpy", "nonesuch", what="a test")
    assert packages.versions(["nonesuch"]) == {"nonesuch": "of an unknown version"}
