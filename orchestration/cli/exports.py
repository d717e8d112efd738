"""The commands export and publish: files for other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestration.cli.errors import EXIT_CODES, clear_errors, print_error
from orchestration.cli.output import print_json
from orchestration.cli.queries import json_option, warehouse
from orchestration.exports import export as bars_export
from orchestration.exports import release
from orchestration.exports.bars import INTERVALS, Window, parse_time
from orchestration.exports.formats import FORMATS


@click.command()
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, type=click.Choice(list(FORMATS)), help="Format of the files.")
@click.option("--coin", "coins", multiple=True, help="Id or ticker of a coin; repeat it for several (default: all).")
@click.option(
    "--interval", default="1h", show_default=True, type=click.Choice(list(INTERVALS)), help="Length of a bar."
)
@click.option("--start", help="First time in UTC, such as 2024-01-31 (default: the first bar).")
@click.option("--end", help="The time before which the bars opened (default: the newest bar).")
@click.option(
    "--gaps", default="keep", show_default=True, type=click.Choice(["keep", "null", "ffill"]),
    help="Missing bars: leave them out, write empty ones, or repeat the close before with no volume.",
)  # fmt: skip
@json_option
@clear_errors
def export(
    target: Path, form: str, coins: tuple[str, ...], interval: str, start: str | None, end: str | None, gaps: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Write bars to the folder DIR as files for other tools.

    gaps.csv lists each missing bar with its reason, manifest.json each file with its SHA-256. Equal data gives equal
    files. The folder must be new, empty or an earlier export, which is replaced. A pair for which freqtrade has no name
    is skipped and named, with exit code 3; if --coin names it, it is an error.
    """
    window = Window(parse_time(start, "--start"), parse_time(end, "--end"))
    request = bars_export.Request(form, interval, coins, window, gaps)
    with warehouse("quality_ro") as (_, connection):
        manifest = bars_export.export(connection, request, target.absolute(), print_error)
    if as_json:
        print_json(manifest)
    else:
        bars = sum(file["rows"] for file in manifest["files"] if file["file"] != bars_export.GAPS_FILE)
        click.echo(f"{target}: {bars:,} bars, coins: {len(manifest['coins'])}, files: {len(manifest['files'])}")
    if manifest["skipped"]:
        sys.exit(EXIT_CODES["partial"])


@click.command()
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(1), help="Keep this many releases in DIR and remove older ones.")
@json_option
@clear_errors
def publish(target: Path, keep: int | None, as_json: bool) -> None:
    """Write an immutable release of the marts to the folder DIR.

    DIR/latest is the newest release: Parquet files, a manifest, a DuckDB catalog and a README. If nothing changed since
    then, nothing is written. Read the terms of the sources before you give a release to others.
    """
    with warehouse("quality_ro") as (_, connection):
        manifest, is_new = release.publish(connection, target.absolute(), keep=keep)
    if as_json:
        print_json({"new": is_new, **manifest})
        return
    rows = sum(mart["rows"] for mart in manifest["marts"].values())
    what = f"{rows:,} rows of {len(manifest['marts'])} marts" if is_new else "nothing changed, no new release"
    click.echo(f"{target / 'releases' / manifest['version']}: {what}")
