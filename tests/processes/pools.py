"""Pools of processes around threaded work: python pools.py CASE START_METHOD."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from problem import SECONDS, Work, main, thread_count

import chainrule as cr

#: What a worker got when it started: through the fork, or pickled.
inherited: Work | None = None

N_CHUNKS = 5


def inherit(work: Work) -> None:
    global inherited
    inherited = work


def predict_given(job: tuple[cr.Network, cr.Predictor, np.ndarray]) -> tuple[bytes, bytes]:
    net, serve, x = job
    return net.predict(x, threads=2).tobytes(), serve.predict(x, threads=2).tobytes()


def predict_inherited(x: np.ndarray) -> tuple[bytes, bytes]:
    return predict_given((inherited.net, inherited.serve, x))


def train(work: Work) -> bytes:
    return work.train(learning_rate=0.1).get_parameters().tobytes()


def bits_of(work: Work) -> bytes:
    return work.bits()


def threads_of_calls(work: Work) -> tuple[int, int]:
    """How many threads calls may use here, and how many they have started."""
    alone = thread_count()
    work.net.predict(work.x)
    work.serve.predict(work.x)
    return cr.get_num_threads(), thread_count() - alone


def exit_well(work: Work) -> None:
    sys.exit(0 if work.is_right() else 1)


class Jobs:
    """Work in chunks, and what it has to give, computed with one thread."""

    def __init__(self) -> None:
        self.work = Work()
        work = self.work
        self.chunks = [np.tile(part, (5, 1)) for part in np.array_split(work.x, N_CHUNKS)]
        self.given = [(work.net, work.serve, chunk) for chunk in self.chunks]
        outputs = [work.net.predict(chunk, threads=1).tobytes() for chunk in self.chunks]
        self.expected = [(output, output) for output in outputs]
        assert work.is_right(threads=2)  # the parent has had a team


def pool(method: str) -> None:
    jobs, context = Jobs(), multiprocessing.get_context(method)
    inherit(jobs.work)
    initializer = () if method == "fork" else (inherit, (jobs.work,))
    with context.Pool(2, *initializer) as workers:
        for call, over, expected in (
            (predict_given, jobs.given, jobs.expected),
            (predict_inherited, jobs.chunks, jobs.expected),
            (bits_of, [jobs.work] * 4, [jobs.work.expected] * 4),
        ):
            assert workers.map_async(call, over, chunksize=1).get(SECONDS) == expected
    assert jobs.work.is_right()


def executor(method: str) -> None:
    jobs, context = Jobs(), multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, inherit, (jobs.work,)) as workers:
        assert list(workers.map(predict_given, jobs.given, timeout=SECONDS)) == jobs.expected
        assert list(workers.map(predict_inherited, jobs.chunks, timeout=SECONDS)) == jobs.expected
        assert workers.submit(bits_of, jobs.work).result(SECONDS) == jobs.work.expected
        assert jobs.work.is_right()


def process(method: str) -> None:
    """A process that ends by sys.exit, and one that comes to the end of its function."""
    work, context = Work(), multiprocessing.get_context(method)
    assert work.is_right()
    for target in (exit_well, bits_of):
        child = context.Process(target=target, args=(work,))
        child.start()
        assert work.is_right()
        child.join(SECONDS)
        assert child.exitcode == 0


def joblib(backend: str) -> None:
    from joblib import Parallel, delayed

    jobs = Jobs()
    with Parallel(n_jobs=2, backend=backend, timeout=SECONDS) as workers:
        assert workers(delayed(predict_given)(job) for job in jobs.given) == jobs.expected
        assert workers(delayed(bits_of)(jobs.work) for _ in range(4)) == [jobs.work.expected] * 4
    assert jobs.work.is_right()


def counted(method: str) -> None:
    """A worker starts the threads of a team, and none where it has been given one core."""
    work, context = Work(), multiprocessing.get_context(method)
    for threads in (1, 2):
        with context.Pool(1, cr.set_num_threads, (threads,)) as workers:
            for started in (threads - 1, 0):  # the second call finds its team there
                found = workers.apply_async(threads_of_calls, (work,)).get(SECONDS)
                assert found == (threads, started)


def joblib_counted(n_jobs: str) -> None:
    """The workers of joblib together have no more threads than there are cores."""
    from joblib import Parallel, cpu_count, delayed

    os.environ.pop("CHAINRULE_NUM_THREADS", None)
    work, n = Work(), int(n_jobs)
    share = max(1, cpu_count() // n)
    with Parallel(n_jobs=n, timeout=SECONDS) as workers:
        for threads, started in workers(delayed(threads_of_calls)(work) for _ in range(2 * n)):
            assert threads <= share
            assert started < threads


if __name__ == "__main__":
    main(globals())
