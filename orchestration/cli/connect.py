"""The command connect: how to read the marts from other tools, with the read-only login `reader`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import click

from ingestion import proxies
from orchestration.cli.errors import clear_errors
from orchestration.local.client import EMBEDDED
from orchestration.session import session

QUERY = "select date, close, return_pct from marts.fct_daily_summary where crypto_id = 'bitcoin' order by date"


@dataclass(frozen=True)
class Reader:
    """Where the login `reader` connects."""

    host: str
    port: int
    database: str
    password: str

    def url(self, scheme: str = "postgresql") -> str:
        """Return the connection URL."""
        return f"{scheme}://reader:{self.password}@{proxies.join(self.host, self.port)}/{self.database}"


def is_embedded(environ: Mapping[str, str]) -> bool:
    """Return whether a session's server is the embedded one, which is reached from this machine alone."""
    return environ.get(EMBEDDED) == "1"


def session_snippets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return how each tool connects to a session's server; the password is shown for the embedded one only."""
    password = environ["TICKMART_PG_READER_PASSWORD"] if is_embedded(environ) else "<TICKMART_PG_READER_PASSWORD>"
    return snippets(Reader(environ["PGHOST"], int(environ["PGPORT"]), environ["PGDATABASE"], password))


def snippets(login: Reader) -> dict[str, str]:
    """Return how each tool connects, by the tool's name."""
    engine = f'engine = create_engine("{login.url("postgresql+psycopg2")}")'
    return {
        "url": login.url(),
        "psql": f"psql '{login.url()}'",
        "python": f'import pandas as pd\nfrom sqlalchemy import create_engine\n\n{engine}\n'
                  f'frame = pd.read_sql("""{QUERY}""", engine)',
        "client": f'import tickmart as tm  # pip install ./tickmart\n\nsource = tm.connect("{login.url()}")\n'
                  'frame = source.daily("bitcoin").to_pandas()',
        "polars": f'import polars as pl\nfrom sqlalchemy import create_engine\n\n{engine}\n'
                  f'frame = pl.read_database("""{QUERY}""", engine)',
        "duckdb": f"install postgres;\nload postgres;\nattach '{login.url()}' as tickmart (type postgres, read_only);\n"
                  f"{QUERY.replace('marts.', 'tickmart.marts.')};",
        "superset": f"SQLAlchemy URI   {login.url('postgresql+psycopg2')}",
        "metabase": f"Database type    PostgreSQL\nHost             {login.host}\nPort             {login.port}\n"
                    f"Database name    {login.database}\nUsername         reader\nPassword         {login.password}\n"
                    "Schemas          only these: marts",
        "excel": f"Driver={{PostgreSQL Unicode}};Server={login.host};Port={login.port};Database={login.database};"
                 f"Uid=reader;Pwd={login.password};ReadOnly=1",
    }  # fmt: skip


@click.command()
@click.option("--format", "form", type=click.Choice(list(snippets(Reader("", 0, "", "")))), help="One tool only.")
@clear_errors
def connect(form: str | None) -> None:
    """Show how to read the marts from other tools, read-only."""
    with session(s3=False):
        embedded, found = is_embedded(os.environ), session_snippets(os.environ)
    if form:
        click.echo(found[form])
        return
    for tool, text in found.items():
        click.echo(f"{tool}\n" + "".join(f"  {line}\n" if line else "\n" for line in text.splitlines()))
    click.echo(
        "The login reads the schema marts only. The embedded Postgres runs while `tickmart up` runs, on the same port."
        if embedded
        else "The login reads the schema marts only. TICKMART_PG_READER_PASSWORD is in .env (`make secrets`)."
    )
