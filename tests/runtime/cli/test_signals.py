"""SIGTERM and SIGHUP interrupt a command as Ctrl-C does."""

import os
import signal
from collections.abc import Iterator

import pytest

from motionrt.runtime.cli.signals import ENDING, interrupt_on_termination


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_the_first_signal_interrupts_and_later_ones_are_ignored(number: signal.Signals) -> None:
    with interrupt_on_termination():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        for later in ENDING:  # while files are written
            os.kill(os.getpid(), later)
    assert [signal.getsignal(one) for one in ENDING] == [signal.SIG_DFL] * len(ENDING)


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    with interrupt_on_termination():
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
