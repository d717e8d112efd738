"""Runs the command: ``python -m orchestration.cli``."""

from orchestration.cli.commands import start

if __name__ == "__main__":
    start()
