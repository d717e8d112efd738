"""A clock for code that takes one, so that a test never waits."""


class StoppedClock:
    """A clock that moves only when `sleep` is called, and records each call."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
