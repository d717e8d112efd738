"""A signal that arrives while Dagster captures signals ends the command, and no other signal does."""

import os
import signal

import pytest
from dagster._utils.interrupts import capture_interrupts

from orchestration.runner import kept_interrupts


@pytest.fixture(autouse=True)
def handlers():
    saved = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_dagster_captured_and_ignored_ends_the_command(number):
    with pytest.raises(KeyboardInterrupt), kept_interrupts(), capture_interrupts():
        os.kill(os.getpid(), number)


def test_another_signal_and_none_end_nothing():
    with kept_interrupts(), capture_interrupts():
        os.kill(os.getpid(), signal.SIGUSR1)
    with kept_interrupts():
        pass


def fail_after_a_signal():
    with kept_interrupts(), capture_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("of the run")


def test_an_error_of_the_block_is_not_replaced_and_nothing_is_installed_after_it():
    with pytest.raises(ValueError, match="of the run"):
        fail_after_a_signal()
    assert signal.set_wakeup_fd(-1) == -1
