"""Health checks of the Compose services; each requests real work and takes less than a second.

Belongs here: one check per kind of service, without Dagster, whose import takes two seconds. Does not: the health of
the data (`tickmart status`).

    health.py http URL | grpc PORT | daemon | database
"""

import os
import sys
import urllib.request

import psycopg2

# The daemon updates its heartbeats every 30 s; Dagster's own liveness check has the same limit.
HEARTBEAT_WITHIN_S = 300
DAEMONS = ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING")


def http(url: str) -> None:
    """Raise unless a URL responds with 200."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{url} answered {answer.status}")


def grpc(port: str) -> None:
    """Raise unless Dagster's code server reports that it is serving."""
    import grpc as rpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with rpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=3).status
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise RuntimeError(f"the code server is in status {status}")


def daemon() -> None:
    """Raise unless every thread of the daemon has a recent heartbeat."""
    with _connect(os.environ["TICKMART_PG_DAGSTER_USER"], os.environ["TICKMART_PG_DAGSTER_PASSWORD"]) as connection:
        cursor = connection.cursor()
        cursor.execute(
            """
            select name from unnest(%s) as name where not exists (
                select from dagster.daemon_heartbeats as b
                where b.daemon_type = name and b.timestamp > (now() at time zone 'utc') - make_interval(secs => %s)
            )
            """,
            (list(DAEMONS), HEARTBEAT_WITHIN_S),
        )
        silent = [name for (name,) in cursor.fetchall()]
    if silent:
        raise RuntimeError(f"no heartbeat within {HEARTBEAT_WITHIN_S} s of {', '.join(silent)}")


def database() -> None:
    """Raise unless Postgres responds; a rejected login counts as a response."""
    try:
        _connect(None, None).close()
    except psycopg2.OperationalError as error:
        if "FATAL" not in str(error) and "no password supplied" not in str(error):
            raise


def _connect(user: str | None, password: str | None) -> psycopg2.extensions.connection:
    return psycopg2.connect("", user=user, password=password, connect_timeout=3)


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    try:
        {"http": http, "grpc": grpc, "daemon": daemon, "database": database}[kind](*arguments)
    except Exception as error:
        print(" ".join(f"{kind}: {error}".split())[:300])
        sys.exit(1)
