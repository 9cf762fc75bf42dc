"""Work where the system gives no threads or little memory: python limits.py CASE ...

What cannot be arranged on this machine prints a line that begins with "skip".
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from problem import Work, exit_code, fork, main, thread_count

import chainrule as cr

NOBODY = 65534
KB, MB = 2**10, 2**20

#: Exit codes of the children that work in little memory. The others are Python's.
RIGHT, REFUSED, WRONG = 0, 10, 11


def skip(reason: object) -> None:
    print(f"skip: {reason}")
    sys.exit()


# --- threads ----------------------------------------------------------------------------------


def can_start_thread() -> bool:
    thread = threading.Thread(target=lambda: None)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def limit_threads(n: int) -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (n, resource.getrlimit(resource.RLIMIT_NPROC)[1]))


def allow_threads(n: int) -> None:
    """Let this process start about so many more threads; 0 is exact."""
    if os.getuid() == 0:  # the limit does not bind root
        try:
            os.setuid(NOBODY)
        except OSError as error:
            skip(f"root cannot become another user: {error}")
    limit_threads(1)
    if can_start_thread():
        skip("this system does not limit the threads of a user")
    if n == 0:
        return
    # All threads of the user count: find how many there are.
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    low, high = 1, hard if 0 < hard < 2**15 else 2**15  # infinity is -1
    while high - low > 1:
        middle = (low + high) // 2
        limit_threads(middle)
        low, high = (low, middle) if can_start_thread() else (middle, high)
    limit_threads(low + n)


def every_call_is_right(work: Work, path: Path, threads: int) -> bool:
    cr.set_num_threads(threads)
    gradients = work.net.gradients(work.x, work.y).flatten().tobytes()
    a, pullback = work.net.vjp(work.x)
    sums, dC_dx = pullback(a)
    cr.set_num_threads(1)
    _, serial = work.net.vjp(work.x)
    expected, expected_dx = serial(a)
    return (
        work.is_right(threads)
        and gradients == work.net.gradients(work.x, work.y).flatten().tobytes()
        and sums.flatten().tobytes() == expected.flatten().tobytes()
        and dC_dx.tobytes() == expected_dx.tobytes()
        and np.array_equal(cr.Network.load(path).get_parameters(), work.net.get_parameters())
    )


def threads(folder: str, allowed: str) -> None:
    work, path = Work(), Path(folder, "net.safetensors")
    work.net.save(path)
    path.chmod(0o644)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work.is_right, threads=2).result()  # a thread that has had helpers
        assert every_call_is_right(work, path, 2)  # all that is imported late is there now
        allow_threads(int(allowed))
        for n in (2, 8, 2, 256):
            assert every_call_is_right(work, path, n), n
            assert pool.submit(work.is_right, n).result(), n
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
        alone = thread_count()
        time.sleep(0.2)  # for so long a system that has refused one is not asked for another
        assert work.is_right(threads=64)  # more than were ever allowed
        assert thread_count() > alone  # the limit was not taken for everlasting


# --- memory -----------------------------------------------------------------------------------


def keep_small_blocks() -> list[bytearray]:
    """Leave 8 MB free for blocks up to 100 KB, until the result goes: it keeps them from joining.

    NumPy 2.4 does not survive the want of one: a product that it broadcasts reads a null pointer
    where there is no memory for its own 64 KB beside the result. The small blocks of the core fail
    one by one in fail_allocations.py; here it is large buffers and threads.
    """
    blocks = [bytearray(size) for _ in range(80) for size in (100 * KB, 2 * KB)]
    return blocks[1::2]


class Memory:
    """Calls whose buffers are of many sizes, up to some MB."""

    def __init__(self, folder: str) -> None:
        rng = np.random.default_rng(0)
        sizes, activations = [200, 600, 400, 10], ["tanh", "relu", "softmax"]
        self.make = lambda: cr.Network(sizes, activations, "cross_entropy", seed=0)
        self.net, self.twin = self.make(), self.make()
        self.x = rng.normal(size=(600, 200)).astype(np.float32)
        self.doubles = self.x.astype(np.float64)
        self.y = rng.integers(0, 10, 600)
        self.path = Path(folder, "net.safetensors")
        self.net.save(self.path)
        self.pickled = pickle.dumps(self.net)

    def construct(self, net: cr.Network, threads: int) -> cr.Network:
        return self.make()

    def load(self, net: cr.Network, threads: int) -> cr.Network:
        return cr.Network.load(self.path)

    def save(self, net: cr.Network, threads: int) -> cr.Network:
        net.save(self.path)
        return cr.Network.load(self.path)

    def unpickle(self, net: cr.Network, threads: int) -> cr.Network:
        return pickle.loads(self.pickled)

    def freeze(self, net: cr.Network, threads: int) -> cr.Predictor:
        return net.freeze()

    def predict(self, net: cr.Network, threads: int) -> np.ndarray:
        return net.predict(self.x, threads=threads)

    def predict_with_a_conversion(self, net: cr.Network, threads: int) -> np.ndarray:
        return net.predict(self.doubles, threads=threads)

    def gradients(self, net: cr.Network, threads: int) -> np.ndarray:
        cr.set_num_threads(threads)
        return net.gradients(self.x, self.y).flatten()

    def vjp(self, net: cr.Network, threads: int) -> np.ndarray:
        cr.set_num_threads(threads)
        a, pullback = net.vjp(self.x)
        return pullback(a)[1]

    def trace(self, net: cr.Network, threads: int) -> np.ndarray:
        return net.trace(self.x[:100], self.y[:100]).delta[0]

    def fit(self, net: cr.Network, threads: int) -> cr.Network:
        net.fit(self.x, self.y, learning_rate=0.1, shuffle=False, threads=threads)
        return net

    def fit_with_adam(self, net: cr.Network, threads: int) -> cr.Network:
        options = {"batch_size": 300, "shuffle": False, "threads": threads}
        net.fit(self.x, self.y, optimizer=cr.Adam(), **options)
        return net

    def train_step(self, net: cr.Network, threads: int) -> cr.Network:
        cr.set_num_threads(threads)
        net.train_step(self.doubles, self.y, learning_rate=0.1)
        return net


def bits(result: cr.Network | cr.Predictor | np.ndarray) -> bytes:
    array = result if isinstance(result, np.ndarray) else result.get_parameters()
    return array.tobytes()


def address_space() -> int:
    """Bytes that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limited(call: Callable[[], bytes], extra: int) -> bytes | None:
    """What the call gives if the process may grow by so many bytes; None if it is refused."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + extra, hard))
    try:
        return call()
    except (MemoryError, RuntimeError, OSError):
        return None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def in_new_thread(call: Callable[..., Any], *arguments: object) -> Any:
    """Its stack is mapped as a whole; that of the main thread would have to grow."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments).result()


def larger(extra: int) -> int:
    return max(64 * KB, extra * 5 // 4)


def memory(name: str, threads: str, folder: str) -> None:
    """Each try is a child of its own, with a little more memory than the one before."""
    calls = Memory(folder)
    kept = keep_small_blocks()
    tries, extra = [], 0
    while tries[-3:] != [RIGHT] * 3:
        child = fork(lambda extra=extra: try_once(calls, name, int(threads), extra))
        tries.append(exit_code(child))
        assert tries[-1] in (RIGHT, REFUSED), f"exit {tries[-1]} with {extra} more bytes"
        extra = larger(extra)
    assert tries.count(REFUSED) >= 3, tries
    del kept


def try_once(calls: Memory, name: str, threads: int, extra: int) -> None:
    """Exit with the outcome."""
    os._exit(in_new_thread(outcome, calls, getattr(calls, name), threads, extra))


def outcome(calls: Memory, call: Callable[..., object], threads: int, extra: int) -> int:
    start = calls.net.get_parameters()
    result = limited(lambda: bits(call(calls.net, threads)), extra)
    expected = bits(call(calls.twin, 1))
    if result is not None:
        return RIGHT if result == expected else WRONG
    # Nothing is half done, and the next call works.
    left = calls.net.get_parameters().tobytes()
    if left not in (start.tobytes(), calls.twin.get_parameters().tobytes()):
        return WRONG
    calls.net.set_parameters(start)
    return REFUSED if bits(call(calls.net, 1)) == expected else WRONG


def memory_with_a_team(folder: str) -> None:
    """As `memory`, in one process that keeps its threads from call to call."""
    calls = Memory(folder)
    kept = keep_small_blocks()
    for name in ("predict", "gradients", "vjp"):
        in_new_thread(keep_a_team, calls.net, getattr(calls, name))
    del kept


def keep_a_team(net: cr.Network, call: Callable[..., np.ndarray]) -> None:
    expected = bits(call(net, 1))
    tries, extra = [], 0
    while tries[-3:] != [expected] * 3:
        assert bits(call(net, 2)) == expected
        tries.append(limited(lambda: bits(call(net, 3)), extra))
        assert tries[-1] in (None, expected), f"wrong with {extra} more bytes"
        extra = larger(extra)
    assert tries.count(None) >= 3


def too_large() -> None:
    """Refused for want of memory, not killed for having touched it."""
    net = cr.Network([300, 10], seed=0)
    row, target = np.ones(300, np.float32), np.ones(10, np.float32)
    rows, targets = (np.broadcast_to(one, (2**30, len(one))) for one in (row, target))
    large = {
        "a network": lambda: cr.Network([2**16, 2**16]),
        "a network of float64": lambda: cr.Network([2**15, 2**15], dtype="float64"),
        "the largest that can be addressed": lambda: cr.Network([2**57, 8], init="zeros"),
        "predictions": lambda: net.predict(np.broadcast_to(row, (2**40, 300))),
        "a tape": lambda: net.vjp(rows),
        "a trace": lambda: net.trace(rows, targets),
    }
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 256 * MB, hard))
    for name, call in large.items():
        try:
            call()
        except MemoryError as error:
            assert str(error), name
        else:
            raise AssertionError(f"{name} found memory")
    assert np.isfinite(net.predict(row)).all()


if __name__ == "__main__":
    main(globals())
