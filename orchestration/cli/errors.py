"""Exit codes, and errors as one line on stderr.

Exit codes: 0 success (every blocking check passed), 1 failed, 2 a setting or argument is wrong, 3 partial (some symbols
or coins failed).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click
import psycopg2

from ingestion.bronze.objects import LakeError
from ingestion.database.connections import WarehouseError
from ingestion.settings import SettingsError, load_settings
from ingestion.sources.conventions import SourceError
from ingestion.text import visible
from ingestion.universe import UniverseError
from orchestration.engines.errors import EngineError
from orchestration.exports.folder import ExportError
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import disk
from orchestration.maintenance.errors import BackupError

EXIT_CODES = {"ok": 0, "failed": 1, "partial": 3}
WRONG_INPUT = 2
Command = TypeVar("Command", bound=Callable[..., Any])


def clear_errors(command: Command) -> Command:
    """Print an expected error as one line and exit with its code; with --debug, raise it."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (SettingsError, UniverseError) as error:
            code = WRONG_INPUT
            shown: Exception = error
        except (
            LocalServicesError,
            WarehouseError,
            LakeError,
            SourceError,
            BackupError,
            ExportError,
            EngineError,
        ) as error:
            code, shown = 1, error
        except psycopg2.Error as error:
            code, shown = 1, WarehouseError(f"Postgres: {' '.join(str(error).split())[:300]}")
        except OSError as error:
            if not disk.is_full(error, load_settings().home):
                raise
            code, shown = 1, LocalServicesError(str(error))
        except KeyboardInterrupt:
            click.echo("tickmart: interrupted; run the command again to resume", err=True)
            sys.exit(130)
        if click.get_current_context().find_root().params.get("debug"):
            raise shown
        if code == 1 and not isinstance(shown, (BackupError, ExportError, EngineError)):
            shown = LocalServicesError(disk.explained(shown, load_settings().home) or str(shown))
        print_error(str(shown))
        sys.exit(code)

    return wrapped  # type: ignore[return-value]


def print_error(text: str) -> None:
    """Print a line for the user on stderr."""
    click.echo(f"tickmart: {visible(text, keep=chr(10))}", err=True)
