"""Kill processes that save, at random moments and amid their writing; look at what they leave.

    python tests/save_and_be_killed.py --kills 2000

A child saves two networks in turn over one file until it is killed. The file is then exactly one
of the two, and nothing else is in the folder but the temporary file of a save that was under way.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import chainrule as cr
from handmade import identity

TEMPORARY = re.compile(r"\.chainrule-[0-9a-f]{16}\.tmp")


def save_until_killed(networks: list[cr.Network], path: Path) -> None:
    try:
        for net in itertools.cycle(networks):
            net.save(path)
    finally:
        traceback.print_exc()
        os._exit(1)  # the parent expects death by SIGKILL


def kill_savers(path: Path, kills: int) -> Counter[str]:
    """Return how often each network was in the file, and how often a temporary file beside it."""
    networks = [cr.Network([256, 256], seed=1), cr.Network([100, 300, 1], dtype="float64", seed=2)]
    names = {identity(net): name for net, name in zip(networks, ["first", "second"], strict=True)}
    networks[0].save(path)  # warm: the first one imports
    start = time.perf_counter()
    for net in networks:
        net.save(path)
    both_saves = time.perf_counter() - start

    seen: Counter[str] = Counter()
    for kill in range(kills):
        random.shuffle(networks)
        child = os.fork()
        if child == 0:
            save_until_killed(networks, path)
        if kill % 2:
            time.sleep(random.uniform(0, both_saves))
        else:
            deadline = time.monotonic() + 10
            while len(os.listdir(path.parent)) < 2 and time.monotonic() < deadline:
                pass  # until there is a temporary file
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

        seen[names[identity(cr.Network.load(path))]] += 1
        for other in set(path.parent.iterdir()) - {path}:
            assert TEMPORARY.fullmatch(other.name), other
            other.unlink()
            seen["temporary"] += 1
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2000)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as folder:
        seen = kill_savers(Path(folder) / "net.safetensors", kills)
    print(
        f"{kills} kills: the file was {seen['first']} times the first network, "
        f"{seen['second']} times the second; {seen['temporary']} temporary files were left"
    )
