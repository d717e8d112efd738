"""The errors that the client raises. Each message is one line without SQL and secrets."""


class TickmartError(Exception):
    """The data cannot be read."""


class ArgumentError(TickmartError, ValueError):
    """An argument has a value that cannot be answered; the message names the value and the fix."""
