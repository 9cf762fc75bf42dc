"""The service of examples/service, under gunicorn and uvicorn, loaded by a second process."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess

import numpy as np
import pytest

import chainrule as cr
from service import README, command, name_of, python, running, wait_until
from support import run_python

for package in ("fastapi", "gunicorn", "prometheus_client", "uvicorn_worker"):
    pytest.importorskip(package)

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn needs fork"),
]

#: Worth a shared call where several requests come at a time.
WIDE = cr.Network([13, 600, 600, 3], "tanh", seed=1)

# What the README sends, and what it prints.
SENT = command("curl")[-1]
STATED = json.loads(re.search(r"```json\n(.*)\n```", README)[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def trained(folder):
    """The model of the README."""
    path = folder / "trained"
    done = python([*command("python")[1:], str(path)], stdout=subprocess.DEVNULL)
    assert done.wait(60) == 0
    return cr.Network.load(path)


@pytest.fixture(scope="module")
def gunicorn(folder, trained):
    path = folder / "model.safetensors"
    trained.save(path)
    with running(command("gunicorn"), path) as service:
        yield service


@pytest.fixture
def service(gunicorn, trained):
    """Two workers that serve the trained model."""
    if not gunicorn.all_serve(trained):
        trained.save(gunicorn.path)
        wait_until(lambda: gunicorn.all_serve(trained))
    return gunicorn


# --- answers ----------------------------------------------------------------------------------


def test_the_readme_gets_the_answer_that_it_states(service):
    assert service.ask("POST", "/predict", SENT) == (200, STATED)


def test_rows_that_come_together_get_the_bits_of_rows_alone(service, trained):
    rows = np.random.default_rng(0).normal(100, 300, (500, 13)).astype(np.float32)
    answers = service.predict(rows.tolist())["predictions"]
    for row, answer in zip(rows, answers, strict=True):
        np.testing.assert_array_equal(np.float32(answer), trained.predict(row), strict=True)


NUMBERS = ", ".join("1" * 13)
MALFORMED = {
    "": "the body: field required",
    "{": "the body is not JSON: ",
    '{"instances": [[1, 2}': "the body is not JSON: ",
    "[" * 100_000: "error parsing the body",
    '"\xff"': "error parsing the body",
    "[]": "the body: input should be a valid dictionary",
    "{}": "instances: field required",
    '{"rows": [[1]]}': "instances: field required",
    f'{{"instances": [[{NUMBERS}]], "x": 1}}': "x: extra inputs are not permitted",
    '{"instances": []}': "instances: list should have at least 1 item",
    '{"instances": 3}': "instances: input should be a valid list",
    '{"instances": [3]}': "instances[0]: input should be a valid list",
    '{"instances": [[]]}': "instances[0] has 0 numbers, the model takes 13",
    f'{{"instances": [[{NUMBERS}], [1, 2]]}}': "instances[1] has 2 numbers, the model takes 13",
    '{"instances": [[[1]]]}': "instances[0][0]: input should be a valid number",
    '{"instances": [[1, "2"]]}': "instances[0][1]: input should be a valid number",
    '{"instances": [[1, true]]}': "instances[0][1]: input should be a valid number",
    '{"instances": [[1, null]]}': "instances[0][1]: input should be a valid number",
    '{"instances": [[NaN]]}': "instances[0][0]: input should be a finite number",
    '{"instances": [[-Infinity]]}': "instances[0][0]: input should be a finite number",
    '{"instances": [[1e999]]}': "instances[0][0]: input should be a finite number",
    f'{{"instances": [[1{"0" * 400}]]}}': "instances[0][0]: input should be a valid number",
    f'{{"instances": [[1e300, {NUMBERS[3:]}]]}}': "instances: a number is too large for float32",
    f'{{"instances": [{", ".join(["[]"] * 1025)}]}}': "instances: list should have at most 1024",
}


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: body[:30] or "nothing")
def test_a_malformed_body_is_refused_with_its_place(service, body):
    status, answer = service.ask("POST", "/predict", body.encode("latin-1"))
    assert status in (400, 422)
    assert MALFORMED[body] in answer["detail"]


def test_an_oversized_body_is_refused(service):
    body = b" " * (2**20 + 1)
    for form in (body, iter([body[:1000], body[1000:]])):  # its length is told, and is not
        assert service.ask("POST", "/predict", form)[0] == 413
    assert service.predict([[1] * 13])


def test_other_addresses_and_methods_are_refused(service):
    assert service.ask("GET", "/nowhere")[0] == 404
    assert service.ask("GET", "/predict")[0] == 405
    assert service.ask("POST", "/predict", "{}", **{"Content-Type": "text/plain"})[0] == 422


def test_outputs_that_are_not_finite_are_refused(folder):
    net = cr.Network([1, 1], "identity", init=lambda *_: np.full((1, 1), 1e30), seed=0)
    net.save(folder / "steep")
    with running(command("uvicorn"), folder / "steep") as steep:
        assert steep.predict([[1e5]])
        status, answer = steep.ask("POST", "/predict", '{"instances": [[1], [1e30]]}')
    assert (status, "not finite" in answer["detail"]) == (422, True)


# --- operation --------------------------------------------------------------------------------


def test_the_metrics_are_those_of_all_workers(service):
    before, asked, workers = service.metrics(), 0, set()

    def ask_both():
        nonlocal asked
        asked += 1
        assert service.predict([[1] * 13] * 3)
        workers.add(service.ask("GET", "/health")[1]["worker"])
        return len(workers) == 2

    wait_until(ask_both)
    rises = {
        'http_requests_total{path="/predict",status="200"}': asked,
        'http_requests_total{path="/health",status="200"}': asked,
        "predict_rows_total": 3 * asked,
    }
    for name, rise in rises.items():  # a request is counted when its answer has gone
        wait_until(lambda n=name, r=rise: service.metrics()[n] == before.get(n, 0) + r)


def test_models_are_exchanged_under_load_and_nothing_is_lost(service, trained, folder, capsys):
    WIDE.save(folder / "wide")
    client, _ = service.load(folder / "trained", folder / "wide", seconds=3)
    exchanges = 0
    while client.poll() is None:
        for network in (WIDE, trained):
            network.save(service.path)
            wait_until(lambda network=network: service.all_serve(network))
            exchanges += 1
    found = json.loads(client.communicate()[0])
    with capsys.disabled():
        print(f"\n{exchanges} exchanges under load:", {k: v for k, v in found.items() if v})
    assert exchanges >= 2
    assert found["models"].keys() == {name_of(trained), name_of(WIDE)}
    assert min(found["models"].values()) > 10
    assert (found["lost"], found["refused"], found["wrong"]) == ({}, {}, 0)


def replace(path, change):
    """Put a changed file in place, in one step."""
    other = path.with_name("other")
    WIDE.save(other)
    other.write_bytes(change(other.read_bytes()))
    os.replace(other, path)


def damaged(path):
    replace(path, lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]))


def cut_off(path):
    replace(path, lambda whole: whole[:1000])


def of_another_width(path):
    cr.Network([12, 8, 3], seed=0).save(path)


def not_finite(path):
    network = copy.deepcopy(WIDE)
    network.weights[1][3, 4] = np.nan
    network.save(path)


def gone(path):
    path.unlink()


BAD_FILES = {
    damaged: "do not have the SHA-256",
    cut_off: "ValueError",
    of_another_width: "12 numbers in, 3 out, the model in service 13 numbers in, 3 out",
    not_finite: "weights that are not finite",
    gone: "FileNotFoundError",
}


@pytest.mark.parametrize("spoil", BAD_FILES, ids=lambda spoil: spoil.__name__)
def test_a_bad_file_leaves_the_old_model_in_service_and_says_so(service, trained, spoil):
    refusals = 'model_reloads_total{outcome="refused"}'
    before = service.metrics().get(refusals, 0)
    spoil(service.path)
    wait_until(lambda: service.metrics().get(refusals) == before + 2)
    for health in service.workers().values():
        assert BAD_FILES[spoil] in health["problem"]
        assert health["model"] == name_of(trained)
    assert service.predict([[1] * 13])["model"] == name_of(trained)
    WIDE.save(service.path)
    wait_until(lambda: service.all_serve(WIDE))
    assert not any(health["problem"] for health in service.workers().values())


def test_a_killed_worker_loses_its_own_requests_only(service, trained, folder, capsys):
    client, connections = service.load(folder / "trained", seconds=3)
    before = service.metrics()["predict_rows_total"]
    wait_until(lambda: service.metrics()["predict_rows_total"] > before + 100)
    killed = min(connections, key=connections.get)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in service.workers())
    found = json.loads(client.communicate(timeout=60)[0])
    with capsys.disabled():
        print(f"\nworker {killed} of {connections} killed:", {k: v for k, v in found.items() if v})
    assert found["answered"][str(killed)] > 0
    assert found["lost"].keys() <= {str(killed)}
    assert sum(found["lost"].values()) <= connections[killed]
    assert (found["refused"], found["wrong"]) == ({}, 0)
    wait_until(lambda: service.all_serve(trained))  # the dead one is counted no more


def test_uvicorn_alone_refuses_what_its_queue_cannot_hold(folder):
    WIDE.save(folder / "wide")
    with running(command("uvicorn"), folder / "wide", MAX_QUEUE="1") as service:
        client, _ = service.load(folder / "wide", seconds=1, rows=2)
        found = json.loads(client.communicate(timeout=60)[0])
    assert found["refused"].keys() == {"503"}
    assert found["models"][name_of(WIDE)] > 0
    assert (found["lost"], found["wrong"]) == ({}, 0)


def test_the_workers_share_the_cores_out(service):
    cores = int(run_python("-c", "import chainrule as cr; print(cr.get_num_threads())"))
    assert [health["threads"] for health in service.workers().values()] == [max(1, cores // 2)] * 2
