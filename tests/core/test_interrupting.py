"""The helper that interrupts everywhere finds what an interrupt leaves behind."""

from __future__ import annotations

import threading

import pytest

from interrupting import Interrupt, Interrupter, interrupt_everywhere


def acquire_and_release(lock):
    lock.acquire()
    lock.release()


def hold(lock):
    with lock:
        pass


def is_free(lock):
    assert not lock.locked()


@pytest.mark.parametrize("opcodes", [False, True])
def test_a_lock_that_an_interrupt_leaves_held_is_found(opcodes):
    with pytest.raises(AssertionError, match="interrupt at .* in acquire_and_release"):
        interrupt_everywhere(
            acquire_and_release,
            [__name__],
            setup=threading.Lock,
            check=is_free,
            opcodes=opcodes,
        )


def three_lines(_):
    first = 1
    second = 2
    return first + second


def test_every_call_line_and_return_is_interrupted_once():
    interrupters = []

    def start(interrupter, state):
        interrupters.append(interrupter)
        interrupter.arm(state)

    points = interrupt_everywhere(three_lines, [__name__], start=start)
    places = [each.place for each in interrupters]
    assert points == 1 + 3 + 1
    assert len(set(places[:-1])) == points
    assert places[-1] is None


def test_bytecodes_are_more_than_lines():
    assert interrupt_everywhere(hold, [__name__], setup=threading.Lock, opcodes=True) > (
        interrupt_everywhere(hold, [__name__], setup=threading.Lock)
    )


def test_other_modules_are_left_alone():
    assert interrupt_everywhere(hold, ["no.such.module"], setup=threading.Lock) == 0


def test_functions_under_way_are_traced_too():
    interrupter = Interrupter(0, [__name__])

    def run():
        interrupter.start()
        return "not interrupted"

    with pytest.raises(Interrupt, match="in run"):
        run()
