"""Explains connection errors of Postgres, S3 and HTTP servers: one cause and, for our own servers, one fix.

Belongs here: reading the messages of servers and client libraries. Does not: connecting. libpq gives no SQLSTATE for a
failed connection (psycopg2's ``pgcode`` is None), so its text decides; an unknown message is shown unchanged.

urllib3 is imported when there is an error to describe: every command imports this module.
"""

from __future__ import annotations

import re

# What libpq or the server says, the cause, and the fix; the first match counts. {user}, {password} and {role} are the
# variables that name the login.
_POSTGRES = (
    (
        r"no password supplied",
        "it has no password",
        "set {password} (embedded server: put the credentials.json of this TICKMART_HOME back)",
    ),
    (
        r"password authentication failed|authentication failed for user",
        "the server has no such user with this password",
        "set {user} and {password} (embedded server: put the credentials.json of this TICKMART_HOME back and start "
        "again)",
    ),
    (
        r'role "[^"]*" does not exist',
        "the server has no such role",
        "set {user}, or run tickmart as the owner first",
    ),
    (r"is not permitted to log in", "this role may not log in", "set {user} to a login, or alter role ... login"),
    (r'database "[^"]*" does not exist', "the server has no such database", "create it, or set PGDATABASE"),
    (r"permission denied for database", "it may not connect to this database", "grant it connect, or set PGDATABASE"),
    (
        r"no pg_hba\.conf entry.*(no encryption|SSL off)",
        "the server rejects connections from here without TLS",
        "set PGSSLMODE=require, or allow it in the server's pg_hba.conf",
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "the server's pg_hba.conf rejects connections from here",
        "add a line for this user, database and address there",
    ),
    (r"does not support SSL", "the server has no TLS", "set PGSSLMODE=prefer, or switch TLS on in the server"),
    (
        r"certificate",
        "the server's certificate is not trusted",
        "set PGSSLROOTCERT to the authority's certificate, or PGSSLMODE=require, which does not verify",
    ),
    (
        r"too many (clients|connections)|connection slots are reserved",
        "the server has no connection left",
        "end other programs that use it, or raise its max_connections or the limit of this user",
    ),
    (
        r"the database system is (starting up|not yet accepting|in recovery)",
        "the server is starting",
        "wait until it is ready, then run again",
    ),
    (r"the database system is shutting down", "the server is shutting down", "start it, then run again"),
    (
        r"invalid response to SSL negotiation|expected authentication request|protocol version",
        "the program that listens there is not Postgres",
        "set PGHOST and PGPORT to the database server",
    ),
    (r"translate host name|Name or service not known", "there is no host of this name", "set PGHOST"),
    (r"Connection refused", "nothing listens there", "start the server, or set PGHOST and PGPORT"),
    (
        r"timeout expired|timed out|No route to host|Network is unreachable",
        "the server does not answer",
        "check PGHOST and PGPORT, and the network and firewall on the way there",
    ),
    (
        r"closed the connection unexpectedly|terminating connection|Connection reset by peer",
        "the server closed the connection",
        "see its log, then run again",
    ),
)
_UNKNOWN = ("it cannot be used", "check PGHOST, PGPORT, {user}, {password} and PGDATABASE")
# The code of an S3 response, the cause, and the fix.
_S3 = {
    "InvalidAccessKeyId": ("the store has no such access key", "set MINIO_ACCESS_KEY"),
    "SignatureDoesNotMatch": ("the secret key is not the access key's", "set MINIO_SECRET_KEY"),
    "AccessDenied": ("these keys lack permission", "give them read, write and list on MINIO_BUCKET, or set other keys"),
    "NoSuchBucket": ("there is no such bucket", "start tickmart again, which creates it, or set MINIO_BUCKET"),
    "RequestTimeTooSkewed": ("its clock and this machine's clock differ too much", "set the clocks (NTP)"),
    "AuthorizationHeaderMalformed": ("the store is in another region", "use an endpoint that takes us-east-1"),
    "XMinioStorageFull": ("its disk is full", "free space there, then run again"),
    "InsufficientStorage": ("its disk is full", "free space there, then run again"),
    "QuotaExceeded": ("the quota of the bucket is used up", "raise it or free space there, then run again"),
    "SlowDown": ("it is overloaded", "run again later"),
}
# What the message of a request without an S3 error code contains, the cause, and the fix.
_S3_MESSAGES = (
    ("WRONG_VERSION_NUMBER|record layer failure", "it does not use TLS", "set MINIO_SECURE=false, or the TLS port"),
    ("HTTPS server|HTTP request to an HTTPS", "it requires TLS", "set MINIO_SECURE=true"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "use a certificate of a public authority"),
    (
        "non-XML response|is not an S3", "the server there is not an S3 server",
        "set MINIO_ENDPOINT to the S3 API (MinIO: port 9000, not 9001)",
    ),
)  # fmt: skip
# A store with a full disk reports it in the message of an InternalError.
DISK_FULL = re.compile(
    r"no space left|disk quota exceeded|wrote only \d+ of \d+ bytes|storage.{0,20}full", re.IGNORECASE
)


def postgres_problem(error: Exception, role: str | None = None, *, own_login: bool = False) -> str:
    """Return cause, server's message and fix of a failed connection, on one line.

    ``own_login`` says that the role connects as a login of its own, whose variables are then named.
    """
    text = " ".join(str(error).split())
    # libpq names each address that it tried; the last one's message counts.
    words = re.split(r"failed: ", text)[-1].removeprefix("FATAL: ").strip()
    cause, fix = next(((cause, fix) for pattern, cause, fix in _POSTGRES if re.search(pattern, words)), _UNKNOWN)
    prefix = f"TICKMART_PG_{role.upper()}_" if role and own_login else "PG"
    fix = fix.replace("{user}", f"{prefix}USER").replace("{password}", f"{prefix}PASSWORD")
    said = f"FATAL: {words}" if "FATAL" in text else words
    return f"{cause} ({said[:200]}): {fix}"


def s3_problem(code: str | None, message: str) -> tuple[str, str]:
    """Return cause and fix of a request that an S3 server rejected with ``code``, or that did not reach it."""
    if DISK_FULL.search(message):
        return _S3["InsufficientStorage"]
    if code in _S3:
        return _S3[code]
    for pattern, cause, fix in _S3_MESSAGES:
        if re.search(pattern, message):
            return cause, fix
    if code is None:
        return "it cannot be reached", "start the server, or set MINIO_ENDPOINT"
    return f"it answered {code}", "check MINIO_ENDPOINT, MINIO_BUCKET and the keys"


# By the name of urllib3's exception. The first match counts: some are subclasses of those behind them.
_TRANSPORT = (
    ("NameResolutionError", "has no address (DNS does not know the host)"),
    ("NewConnectionError", "cannot be connected to (connection refused or no route)"),
    ("ConnectTimeoutError", "does not answer (connection timed out)"),
    ("ReadTimeoutError", "stopped answering (timed out)"),
    ("SSLError", "has no certificate that this machine trusts"),
    ("ProtocolError", "cut the connection"),
    ("DecodeError", "sent a damaged gzip body"),
)
# The beginning of each message about a proxy instead of the host behind it.
PROXY_FAULT = "was not reached because the proxy failed"
PROXY_LOGIN = "wants another user and password (407)"


def describe_transport_error(problem: Exception) -> str:
    """Describe a transport error in a few words, without addresses of objects in memory."""
    import urllib3

    if isinstance(problem, urllib3.exceptions.ProxyError):
        return f"{PROXY_FAULT}: it {_proxy_fault(problem.original_error)}"
    if isinstance(problem, TimeoutError):
        return "stopped answering (timed out)"
    for name, text in _TRANSPORT:
        if isinstance(problem, getattr(urllib3.exceptions, name)):
            return text
    shown = problem if isinstance(problem, urllib3.exceptions.ResponseError) else type(problem).__name__
    return f"failed ({shown})"


def _proxy_fault(problem: Exception) -> str:
    """Describe a proxy's failure; http.client has no class for a rejected tunnel, only a text with the status."""
    rejected = re.match(r"Tunnel connection failed: (\d{3})", str(problem))
    if rejected is None:
        return describe_transport_error(problem)
    return PROXY_LOGIN if rejected[1] == "407" else f"answered {rejected[1]} to CONNECT"
