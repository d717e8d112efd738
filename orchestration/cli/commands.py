"""The ``tickmart`` command: provisions servers, launches Dagster jobs, prints what was done.

Belongs here: arguments, exit codes, what the user reads. Does not: an orchestration of its own; every run is Dagster's.
Exit codes: 0 all blocking parts held, 1 failed, 2 a setting or argument is wrong, 3 partial (a symbol or coin failed
alone). Machine output is one JSON object on stdout; everything else goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import click
import orjson
import psycopg2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ingestion import proxies
from ingestion.bronze import rejected as bronze_rejected
from ingestion.bronze.lake import Lake, LakeError
from ingestion.bronze.write import Context
from ingestion.database import connections
from ingestion.database.connections import WarehouseError
from ingestion.datasets import object_day
from ingestion.settings import Settings, SettingsError, home_of, load_settings
from ingestion.sources.binance.contract import BINANCE_OPENED, INTERVAL_MS
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.http import SourceError
from ingestion.sources.registry import DATASETS
from ingestion.text import plain, visible
from ingestion.universe import UniverseError
from orchestration import environment
from orchestration.alerting import channels, outbox
from orchestration.cli import external_tools
from orchestration.cli.output import print_incidents, print_rejected, print_status, print_summary
from orchestration.cli.terminal import console, line, print_query
from orchestration.cli.up import run_services, use_demo_home
from orchestration.local import compose
from orchestration.local import demo as local_demo
from orchestration.local.client import prepare_home, stack
from orchestration.local.processes import LocalServicesError, free_port, port_owner_message
from orchestration.maintenance import backup as maintenance_backup
from orchestration.maintenance import disk, retention
from orchestration.maintenance import doctor as maintenance_doctor
from orchestration.observability import health, logs
from orchestration.runner import logins, quiet, refresh_window, run_job, run_session, session

EXIT = {"ok": 0, "failed": 1, "partial": 3}
WRONG_INPUT = 2
Command = TypeVar("Command", bound=Callable[..., Any])


def clear_errors(command: Command) -> Command:
    """Turn an error that says in one line what is wrong into that line and an exit code; --debug shows all."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (SettingsError, UniverseError) as error:
            code = WRONG_INPUT
            shown: Exception = error
        except (LocalServicesError, WarehouseError, LakeError, SourceError, maintenance_backup.BackupError) as error:
            code, shown = 1, error
        except psycopg2.Error as error:
            code, shown = 1, WarehouseError(f"Postgres: {' '.join(str(error).split())[:300]}")
        except OSError as error:
            if not disk.is_full(error, load_settings().home):
                raise
            code, shown = 1, LocalServicesError(str(error))
        except KeyboardInterrupt:
            click.echo("tickmart: interrupted; run again to go on where it stopped", err=True)
            sys.exit(130)
        if click.get_current_context().find_root().params.get("debug"):
            raise shown
        if code == 1 and not isinstance(shown, maintenance_backup.BackupError):
            shown = LocalServicesError(disk.explained(shown, load_settings().home) or str(shown))
        _tell(str(shown))
        sys.exit(code)

    return wrapped  # type: ignore[return-value]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="tickmart")
def main(debug: bool) -> None:
    """Crypto-market history on your own Postgres: ingest, model, check, show."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell starts background commands with SIGINT ignored; Ctrl-C and kill -INT must end this one all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _enter_demo_home()


@clear_errors
def _enter_demo_home() -> None:
    """In a demo home, use its own servers and simulator, whatever the environment names."""
    home = home_of(os.environ)
    if local_demo.seed_of(home) is not None and (dropped := local_demo.enter_demo()):
        click.echo(f"tickmart: {home} is a demo: {', '.join(dropped)} not used", err=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def run(as_json: bool) -> None:
    """Refresh once: sources, bronze, raw, dbt, checks. An empty warehouse gets the last 30 days first."""
    with run_session("run") as settings:
        _finish(_refresh(settings, "run"), as_json)


@main.command()
@click.option("--start", required=True, help="First UTC day, YYYY-MM-DD.")
@click.option("--end", help="UTC day after the last, YYYY-MM-DD; default: today is the last.")
@click.option("--interval", type=click.Choice(list(INTERVAL_MS)), default="1h", show_default=True)
@click.option(
    "--source",
    type=click.Choice(["rest", "archive", "auto"]),
    default="auto",
    show_default=True,
    help="REST, the bulk archives as far as they go, or the cheaper of both for each month.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def backfill(start: str, end: str | None, interval: str, source: str, as_json: bool) -> None:
    """Load history in one run: half-open UTC days, resumed when it was cut off, harmless when run twice."""
    today = datetime.now(UTC).date()
    first = _day("--start", start)
    last = _day("--end", end) if end else date.fromordinal(today.toordinal() + 1)
    if first >= last:
        raise SettingsError(f"--start {first} is not before --end {last}; the range is half-open, [start, end)")
    if first > today:
        raise SettingsError(f"--start {first} has not come yet; today is {today} (UTC)")
    first, last = max(first, BINANCE_OPENED), min(last, date.fromordinal(today.toordinal() + 1))
    if first >= last:
        raise SettingsError(f"--end {end}: Binance has no bars before {BINANCE_OPENED}; choose a later day")
    with run_session("backfill") as settings:
        from orchestration.jobs import JOB

        klines = {"resume": True, "interval": interval, "source": source}
        _finish(_run(settings, JOB, first, last, {"bronze__binance_klines": klines}, "backfill", bar=True), as_json)


@main.command()
@clear_errors
def up() -> None:
    """Run once, then keep everything up: Postgres, Dagster (hourly schedule on), dashboard. Ctrl-C stops it all."""
    with run_session("up") as settings:
        run_services(settings, lambda: _show(_refresh(settings, "up")))


@main.command()
@click.option("--seed", default=3, show_default=True, help="Another seed is another market.")
@click.option("--days", default=240, show_default=True, help="Days of history to simulate.")
@clear_errors
def demo(seed: int, days: int) -> None:
    """The same as `up`, offline, against the simulator: a full dashboard without network or keys."""
    use_demo_home(seed)
    _enter_demo_home()
    with run_session("demo") as settings:
        today = datetime.now(UTC).date()
        start, end = date.fromordinal(today.toordinal() - days), date.fromordinal(today.toordinal() + 1)
        from orchestration.jobs import JOB

        config = {"bronze__binance_klines": {"skip_covered": True}}
        run_services(settings, lambda: _show(_run(settings, JOB, start, end, config, "demo", bar=True)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def status(as_json: bool) -> None:
    """Say how each dataset stands: health, rows, newest data, age against its SLA, gaps, rejected, last run, alerts.

    Exit code: 0 healthy, 1 degraded (or no database), 3 a warning or unknown.
    """
    settings = load_settings()
    try:
        with session(s3=False) as settings:
            found = health.status(settings)
    except (LocalServicesError, WarehouseError, psycopg2.Error) as error:
        problem = disk.explained(error, settings.home) or " ".join(str(error).split())[:500]
        _tell(problem)
        found = health.without_database(settings, problem)
    health.write_status(settings, found)
    if as_json:
        _json(found)
    else:
        print_status(found, console())
    sys.exit(health.EXIT[found["status"]])


@main.group()
def alert() -> None:
    """Incidents, and whether anybody has been told of them."""


@alert.command("test")
@clear_errors
def alert_test() -> None:
    """Send one message through each channel that is set, and ping the heartbeat URL; needs no database."""
    alerting = load_settings().alerting
    names = channels.configured(alerting)
    if not names and alerting.heartbeat_url is None:
        raise SettingsError("no channel is on: set SLACK_WEBHOOK_URL, SMTP_URL with ALERT_EMAIL_TO, or HEARTBEAT_URL")
    message = channels.Message(
        f"test {uuid4()}", "test", "warn", "this channel works", "You asked for it: `tickmart alert test`."
    )
    failed = False
    for name in names:
        try:
            channels.send(name, alerting, [message])
            click.echo(f"{name}: sent")
        except (channels.Unavailable, channels.Refused) as error:
            failed = True
            click.echo(f"{name}: NOT sent: {error}")
    if alerting.heartbeat_url is not None:
        problem = channels.ping(alerting.heartbeat_url)
        failed = failed or problem is not None
        click.echo(f"heartbeat: {f'NOT answered: {problem}' if problem else 'answered'}")
    sys.exit(1 if failed else 0)


@alert.command("list")
@click.option("--limit", default=20, show_default=True, help="Most incidents shown, open ones first, then the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def alert_list(limit: int, as_json: bool) -> None:
    """Show the incidents and how each of their messages fared."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        with connections.closing(connections.connect(settings.postgres, "quality_ro")) as connection:
            found = outbox.listed(connection, limit)
    if as_json:
        _json(found)
    else:
        print_incidents(found, console())


@alert.command("retry")
@clear_errors
def alert_retry() -> None:
    """Send again what a channel had refused, now that it is mended."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
            count = outbox.retry(connection)
            sent = outbox.deliver(connection, settings.alerting)
    click.echo(f"{count:,} made due again; sent: {', '.join(f'{n} by {name}' for name, n in sent.items()) or 'none'}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def check(as_json: bool) -> None:
    """Run the quality suites and the models' tests alone, over what stands in bronze and the marts."""
    with run_session("check") as settings:
        from orchestration.quality.checks import CHECK_JOB

        today = datetime.now(UTC).date()
        tomorrow = date.fromordinal(today.toordinal() + 1)
        _finish(_run(settings, CHECK_JOB, today, tomorrow, {}, "check"), as_json)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def rebuild(as_json: bool) -> None:
    """Empty raw and the marts, and build both anew from bronze alone."""
    with run_session("rebuild") as settings:
        from orchestration.jobs import REBUILD, REBUILD_JOB

        assert settings.object_store is not None
        held = Lake(settings.object_store).list(f"{KLINES.prefix}/")
        days = [day for o in held if (day := object_day(o.key))]
        if not days:
            raise LakeError(
                f"bucket {settings.object_store.bucket} holds no bars: raw would stay empty; backfill first"
            )
        last = date.fromordinal(max(days).toordinal() + 1)
        _finish(_run(settings, REBUILD_JOB, min(days), last, REBUILD, "rebuild"), as_json)


@main.group()
def rejected() -> None:
    """Records that broke their dataset's contract."""


@rejected.command("list")
@click.option("--limit", default=50, show_default=True, help="Most records shown, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def rejected_list(limit: int, as_json: bool) -> None:
    """Show the rejected records, why, and whether they have been replayed."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        with connections.closing(connections.connect(settings.postgres, "quality_ro")) as connection:
            found = bronze_rejected.list_rejected(connection, limit)
    if as_json:
        _json([{**row, "record": orjson.Fragment(row["record"])} for row in found])
    else:
        print_rejected(found, console())


@rejected.command("replay")
@clear_errors
def rejected_replay() -> None:
    """Judge the rejected records by today's rules; those that pass go into bronze, and the next run loads them."""
    with session() as settings:
        assert settings.postgres is not None
        assert settings.object_store is not None
        lake = Lake(settings.object_store)
        lake.ensure_bucket()
        with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
            batch_id = f"replay {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            replayed = bronze_rejected.replay(Context(lake, connection, batch_id), DATASETS)
    for name, (passed, judged) in replayed.items():
        click.echo(f"{name}: {passed:,} of {judged:,} records pass now and stand in bronze")
    click.echo("`tickmart run` loads them." if any(passed for passed, _ in replayed.values()) else "Nothing to load.")


@main.command()
@click.option("--days", type=click.IntRange(1), help="Keep so many days of everything, instead of each one's own.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@clear_errors
def prune(days: int | None, dry_run: bool) -> None:
    """Remove old rejected records, run logs, request logs, Dagster runs and dbt targets; never data."""
    with session() as settings:
        for what, count, keep_days in retention.prune(settings, days=days, dry_run=dry_run):
            word = "would be removed" if dry_run else "removed"
            line(console(), f"{what} older than {keep_days} days: {count:,} {word}")


@main.command()
@click.argument("target", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--check/--no-check", default=True, help="Restore it into an empty database and compare; the default.")
@click.option(
    "--keep", type=click.IntRange(1), help="Remove older backups in TARGET but for so many, this one included."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def backup(target: Path | None, check: bool, keep: int | None, as_json: bool) -> None:
    """Write a backup into a folder of its own below TARGET: the database's rows, every bronze object, checksums.

    TARGET is TICKMART_BACKUPS unless it is named, and .tickmart/backups unless that is set. The stack may go on.
    """
    embedded = load_settings().postgres is None
    with session(set_up=False) as settings:
        into = (target or settings.backups).absolute()
        made = maintenance_backup.make(settings, into, embedded=embedded, check=check, keep=keep, tell=_tell)
    lost = made["missing_objects"]
    if as_json:
        _json(maintenance_backup.summary(made))
    else:
        click.echo(f"backup {made['path']}: {maintenance_backup.in_words(made)}")
    for key in lost[:10]:
        click.echo(f"tickmart: the ledger names {key}, which the bucket no longer holds: it is in no backup", err=True)
    sys.exit(EXIT["partial" if lost else "ok"])


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Restore into an empty database of its own, compare, and take it away again."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@clear_errors
def restore(source: Path, check: bool, as_json: bool) -> None:
    """Bring an empty database and an empty bucket to what the backup in the folder SOURCE holds, and compare.

    Cut off, it goes on when it is started again. In the end the marts are built from what was restored.
    """
    source = source.absolute()
    embedded = load_settings().postgres is None
    built = "ok"
    with session(postgres=not check, s3=not check, set_up=False) as settings:
        if check:
            done = {
                **maintenance_backup.verify_restore(settings, source, embedded=embedded, tell=_tell),
                "differences": [],
            }
        else:
            done = maintenance_backup.restore(settings, source, logins(os.environ), tell=_tell)
            if (seed := done.get("simulated_seed")) is not None:
                local_demo.mark_restored(settings, seed, embedded=embedded)
            if not done["differences"]:
                built = _build_marts()  # in this session, whose servers the environment names
    if as_json:
        _json(maintenance_backup.summary(done))
    elif not done["differences"]:
        click.echo(
            f"{'checked' if check else 'restored'} {source}: {maintenance_backup.in_words(done)}, all as they were"
        )
    for difference in done["differences"]:
        _tell(difference)
    sys.exit(EXIT["failed" if done["differences"] else built])


@main.command()
@clear_errors
def init() -> None:
    """Set up servers that others run: roles, schemas, bucket, Dagster's tables; then the first load and dbt's docs."""
    settings = load_settings()
    prepare_home(settings.home)

    def first_load() -> dict[str, Any]:
        with session() as ready:
            summary = _refresh(ready, "init")
        _show(summary)
        return summary

    click.echo(f"tickmart: {compose.initialise(settings, first_load)}")
    if not external_tools.docs_are_current(settings.home):
        try:
            external_tools.write_docs(settings.home)
        except LocalServicesError as error:  # no reason to keep the stack down; the next start tries again
            click.echo(f"tickmart: {error}", err=True)


@main.command()
@click.argument("process", type=click.Choice(list(compose.PROCESSES)))
@click.option("--port", type=click.IntRange(1, 65_535), help="Where it listens, on every address.")
@click.option("--read-only", is_flag=True, help="A webserver that shows everything and starts nothing.")
@clear_errors
def serve(process: str, port: int | None, read_only: bool) -> None:
    """Become one of Dagster's processes, as the services of docker-compose.yml do."""
    compose.become(process, port, read_only=read_only)


@main.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=9464, show_default=True, help="0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@clear_errors
def metrics(port: int, host: str) -> None:
    """Serve the Prometheus endpoint, which reads the books at each scrape; a database that is down is a number, too."""
    from orchestration.observability import metrics as observability_metrics

    wanted = load_settings()
    with stack(wanted.home, postgres=wanted.postgres is None, s3=False) as env:
        os.environ.update(env)
        server, thread = observability_metrics.serve(load_settings(), host, port)
        click.echo(f"Metrics http://{proxies.join(host, server.server_port)}/metrics")
        sys.stdout.flush()
        thread.join()


@main.command()
@click.argument("query")
@click.option("--csv", "form", flag_value="csv", help='Print CSV; null is nothing, the empty text is "".')
@click.option("--json", "form", flag_value="json", help="Print an array of objects.")
@clear_errors
def sql(query: str, form: str | None) -> None:
    """Run one read-only query and print every value as Postgres writes it."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        with connections.closing(connections.connect(settings.postgres, "quality_ro")) as connection:
            connection.set_session(readonly=True)
            print_query(connection, query, form or "table")


@main.command()
@clear_errors
def doctor() -> None:
    """Check versions, settings, every source and store, and the universe against the live symbol lists."""
    with session() as settings:
        sys.exit(0 if maintenance_doctor.examine(settings, console()) else 1)


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def simulate(arguments: Sequence[str]) -> None:
    """Serve the simulated APIs: [--port N] [--faults FILE] and more, see --help."""
    os.execv(sys.executable, environment.python("-m", "ingestion.simulator", *arguments))  # noqa: S606


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def dbt(arguments: Sequence[str]) -> None:
    """Run dbt with the environment set: tickmart dbt build --select fct_prices."""
    with session(s3=False) as settings:
        sys.exit(external_tools.dbt(settings.home / "dbt" / "cli", arguments))


@main.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Port on 127.0.0.1; default: 8580, or a free one.")
@click.option("--build-only", is_flag=True, help="Write the page and serve nothing.")
@clear_errors
def docs(port: int | None, build_only: bool) -> None:
    """Build the warehouse's documentation, lineage included, as one page that needs no network, and serve it."""
    if port and free_port(port) != port:
        raise LocalServicesError(port_owner_message(port, "--port"))
    with session(s3=False) as settings:
        page = external_tools.write_docs(settings.home)
    click.echo(f"Page    {page}")
    if not build_only:
        external_tools.serve(page, port or free_port(8580))


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@clear_errors
def psql(arguments: Sequence[str]) -> None:
    """Open psql on the warehouse, as its owner."""
    with session(s3=False) as settings:
        assert settings.postgres is not None
        owner = settings.postgres
        program = external_tools.postgres_client("psql")
        env = {**os.environ, "PGUSER": owner.user, "PGPASSWORD": owner.password, "PGTZ": "UTC"}
        sys.exit(external_tools.child([program, *arguments], env))


def _build_marts() -> str:
    """Build the marts from what stands in raw, without any source; return partial when some are not built."""
    from orchestration.jobs import REBUILD_JOB

    _tell("everything is restored; building the marts (cut off here, `tickmart run` builds them)")
    today = datetime.now(UTC).date()
    with run_session("restore") as settings:
        summary = _run(settings, REBUILD_JOB, today, date.fromordinal(today.toordinal() + 1), {}, "restore")
    if all(s["status"] == "ok" for s in summary["stages"] if s["stage"] == "dbt") and not summary["error"]:
        return "ok"  # what its checks say is the data's, not the restore's
    _show(summary)
    return "partial"


def _refresh(settings: Settings, command: str) -> dict[str, Any]:
    """Run the whole job over the days that a refresh is about."""
    from orchestration.jobs import JOB
    from orchestration.partitions import FIRST_LOAD_DAYS

    start, end = refresh_window(settings, FIRST_LOAD_DAYS)
    return _run(settings, JOB, start, end, {"bronze__binance_klines": {"skip_covered": True}}, command)


def _run(
    settings: Settings,
    job: str,
    start: date,
    end: date,
    config: dict[str, dict[str, Any]],
    command: str,
    *,
    bar: bool = False,
) -> dict[str, Any]:
    """Run a job with its output in a log, a progress bar on the terminal, and return the summary."""
    from orchestration.assets import bronze

    log = settings.home / "logs" / f"{command}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    began = time.monotonic()
    with quiet(log) as terminal:
        out = console(terminal)
        line(out, f"tickmart {command}: {start} to {end} (UTC, half-open); log: {log}")
        with _progress(out, bar) as progress, logs.shown(partial(line, out)):
            task = progress.add_task("binance", total=None, rows="0 rows", weight="")

            def show(state: Any, weight: int) -> None:
                rate = state.rows / max(time.monotonic() - began, 1e-9)
                progress.update(
                    task, completed=state.days_done, total=state.days_total,
                    rows=f"{state.rows:,} rows, {rate:,.0f}/s", weight=f"weight {weight:,}",
                )  # fmt: skip

            bronze.PROGRESS = show
            summary = run_job(job, start, end, config)
    summary.update(command=command, seconds=round(time.monotonic() - began, 2), log=str(log))
    health.write_status(settings)
    return summary


def _progress(out: Console, bar: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} days, {task.fields[rows]}, {task.fields[weight]}"),
        TimeRemainingColumn(),
        console=out,
        disable=not (bar and out.is_terminal),
        transient=True,
    )


def _show(summary: dict[str, Any]) -> None:
    print_summary(summary, console(sys.stderr))


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _json(summary)
        _warn(summary)
    else:
        print_summary(summary, console())
    sys.exit(EXIT[summary["status"]])


def _tell(text: str) -> None:
    click.echo(f"tickmart: {visible(text, keep=chr(10))}", err=True)


def _warn(summary: dict[str, Any]) -> None:
    """Repeat on stderr, one line each, what a person must know beside the JSON."""
    for stage in summary["stages"]:
        for problem in filter(None, [stage["detail"].get("error"), *(stage["detail"].get("failed") or {}).values()]):
            _tell(problem)


def _json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, default=plain, option=orjson.OPT_INDENT_2).decode() + "\n")


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option}: {text!r} is not a day (YYYY-MM-DD)") from None


def start() -> None:
    """Run the command with the environment that it may see: `bin/tickmart` enters here."""
    environment.isolate()
    main(prog_name="tickmart")
