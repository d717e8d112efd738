"""The limit on concurrent page runs."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event

import pytest

from dashboard.components import rendering
from dashboard.components.rendering import MAX_CONCURRENT_RUNS, render_slot


def test_render_slot_limits_concurrent_runs():
    one_too_many = Barrier(MAX_CONCURRENT_RUNS + 1)

    def run(_: int) -> bool:
        with render_slot():
            try:
                one_too_many.wait(0.2)
            except BrokenBarrierError:
                return False
            return True

    with ThreadPoolExecutor(12) as threads:
        assert not any(threads.map(run, range(12)))


def test_render_slot_proceeds_after_its_timeout(monkeypatch):
    monkeypatch.setattr(rendering, "SLOT_TIMEOUT_S", 0.05)
    released, inside = Event(), Barrier(MAX_CONCURRENT_RUNS + 1)

    def hang(_: int) -> None:
        with render_slot():
            inside.wait(10)
            released.wait(10)

    with ThreadPoolExecutor(MAX_CONCURRENT_RUNS) as threads:
        hanging = [threads.submit(hang, n) for n in range(MAX_CONCURRENT_RUNS)]
        inside.wait(10)
        with render_slot():
            released.set()
        for run in hanging:
            run.result()


def test_render_slot_is_released_after_an_error_and_nested_slots_are_free(monkeypatch):
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), render_slot():
            1 / 0  # noqa: B018
    monkeypatch.setattr(rendering, "SLOT_TIMEOUT_S", None)  # a slot that was not released hangs this test
    with render_slot(), render_slot(), render_slot():
        pass
