"""The home of a demo: entering it, which every command does, and creating it."""

from __future__ import annotations

import os

import click

from ingestion.settings import home_of, load_settings
from orchestration.cli.errors import clear_errors
from orchestration.local import demo
from orchestration.local.client import prepare_home


@clear_errors
def enter_demo_home() -> None:
    """In a demo home, use its own servers and simulator instead of those in the environment."""
    home = home_of(os.environ)
    if demo.seed_of(home) is not None and (dropped := demo.enter_demo()):
        click.echo(f"tickmart: {home} is a demo: {', '.join(dropped)} not used", err=True)


def use_demo_home(seed: int) -> None:
    """Create the demo's home and work in it: HOME/demo, apart from real data, or HOME itself if it is a demo."""
    home = load_settings().home
    if demo.seed_of(home) is None:
        prepare_home(home)
        home = home / "demo"
    prepare_home(home)
    demo.make_demo(home, seed)
    os.environ["TICKMART_HOME"] = str(home)
    enter_demo_home()
