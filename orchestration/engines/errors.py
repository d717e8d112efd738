"""The error of the engines. No imports: the environments of the engines use it too."""


class EngineError(Exception):
    """An engine that cannot build, or a build that failed; the message is one line with the fix."""
