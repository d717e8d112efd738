"""Runs the command: ``python -m orchestration.cli``."""

from orchestration.cli.main import start

if __name__ == "__main__":
    start()
