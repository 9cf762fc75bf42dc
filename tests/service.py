"""The service of examples/service, run by the commands of its README, and its client."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples" / "service"
README = (FOLDER / "README.md").read_text()


def command(name):
    """The arguments of a command as the README states it."""
    return shlex.split(re.search(rf"^{name} [^\n\\]*(\\\n[^\n\\]*)*", README, re.M)[0])


def name_of(network):
    """What the service calls it: its architecture and the bits of its parameters."""
    digest = hashlib.sha256(repr(network.freeze()).encode() + network.get_parameters().tobytes())
    return digest.hexdigest()[:12]


def python(arguments, environment=None, **options):
    """Start an interpreter in the folder of the example."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=FOLDER,
        env={**os.environ, **(environment or {})},
        **options,
    )


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError(f"nothing happened for {seconds} seconds")


class Service:
    """A running service and the file of its model."""

    def __init__(self, address, path):
        self.address, self.path = address, path

    def ask(self, method, path, body=None, **headers):
        """Status and body of the answer, over a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text) if is_json else text

    def predict(self, rows):
        status, answer = self.ask("POST", "/predict", json.dumps({"instances": rows}))
        assert status == 200, answer
        return answer

    def metrics(self):
        """Every series of every worker, by its name with its labels."""
        lines = self.ask("GET", "/metrics")[1].splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def all_serve(self, network):
        """Whether both workers serve it."""
        return self.metrics().get(f'model_workers{{model="{name_of(network)}"}}') == 2

    def workers(self):
        """What each of the two workers says of itself."""
        found = {}

        def both():
            health = self.ask("GET", "/health")[1]
            found[health["worker"]] = health
            return len(found) == 2

        wait_until(both)
        return found

    def load(self, *models, seconds=2.0, **options):
        """The client that loads it, in a process of its own; it has begun when this returns."""
        flags = [f"--{name}={value}" for name, value in options.items()]
        client = python(
            ["load.py", f"http://{self.address}", f"--seconds={seconds}", *flags, "--json"]
            + ["--check", *map(str, models)],
            stdout=subprocess.PIPE,
            text=True,
        )
        by_worker = json.loads(client.stdout.readline().partition(": ")[2])
        return client, {int(worker): n for worker, n in by_worker.items()}


@contextlib.contextmanager
def running(arguments, path, **environment):
    """Start a server by the README's command, and stop it as a supervisor does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    if arguments[0] == "uvicorn":
        arguments = [*arguments, "--port", str(port)]
    settings = {
        "MODEL": str(path),
        "BIND": address,
        "POLL_SECONDS": "0.05",
        "HOME": str(path.parent),
    }
    server = python(["-m", *arguments], {**settings, "WEB_CONCURRENCY": "2", **environment})
    service = Service(address, path)
    try:
        wait_until(lambda: service.ask("GET", "/health")[0] == 200)
        yield service
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
