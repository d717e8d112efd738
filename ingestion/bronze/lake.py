"""The bronze lake: Parquet objects in one S3 bucket, each written atomically.

Belongs here: all access to the object store, by basic S3 calls only (no metadata, tags, versions or conditional
requests: servers differ there). Does not: which records an object has (each source's ingestion) or its key (dataset).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pyarrow as pa
import tenacity
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, NoncurrentVersionExpiration, Rule
from minio.versioningconfig import OFF, VersioningConfig

from ingestion.bronze.merge import union
from ingestion.bronze.objects import DamagedObject, LakeError, ObjectInfo, Written
from ingestion.bronze.parquet import parse_parquet, to_parquet
from ingestion.connection_errors import describe_transport_error, s3_problem
from ingestion.datasets import Dataset
from ingestion.settings import ObjectStore

__all__ = [
    "DamagedObject", "Lake", "LakeError", "ObjectInfo", "Written", "parse_parquet", "to_parquet",
]  # fmt: skip

TIMEOUT = urllib3.Timeout(connect=5, read=60)


class _XmlErrors(urllib3.PoolManager):
    """rclone labels S3 errors ``text/xml``; the minio client reads only ``application/xml``."""

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
        response = super().urlopen(method, url, redirect=redirect, **kw)
        if response.status >= 300 and response.headers.get("content-type", "").startswith("text/xml"):
            response.headers["content-type"] = "application/xml"
        return response


class Lake:
    """One bucket; safe to share between threads."""

    def __init__(self, store: ObjectStore, *, attempts: int = 5, timeout: urllib3.Timeout = TIMEOUT) -> None:
        self.store = store
        retries = urllib3.Retry(
            total=attempts, backoff_factor=0.2, backoff_jitter=0.2, status_forcelist=(500, 502, 503, 504),
            # The last response has the reason (SlowDown): the client parses its XML.
            raise_on_status=False,
        )  # fmt: skip
        pool = _XmlErrors(
            maxsize=16,
            timeout=timeout,
            retries=retries,
            cert_reqs="CERT_REQUIRED",
            ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        )
        # A fixed region saves a request per bucket, and rclone does not report one.
        self._client = Minio(
            store.endpoint,
            store.access_key,
            store.secret_key,
            secure=store.secure,
            region="us-east-1",
            http_client=pool,
        )

    def ensure_bucket(self) -> None:
        """Create the bucket if it does not exist, and enable versions of replaced objects where the store can."""
        with self._reporting("the bucket cannot be looked up or created"):
            try:
                if not self._client.bucket_exists(self.store.bucket):
                    self._client.make_bucket(self.store.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise
        if self.store not in _PREPARED:
            self._keep_versions()
            _PREPARED.add(self.store)

    def _keep_versions(self) -> None:
        """Enable versions and their expiry, unless the bucket's owner has configured them.

        tickmart reads no versions; they let an operator undo a change. A store without versions works as well. Stores
        reject this in many ways: rclone with NotImplemented, a policy with AccessDenied.
        """
        bucket = self.store.bucket
        with contextlib.suppress(*_STORE_ERRORS):
            if self._client.get_bucket_versioning(bucket).status in (None, OFF):
                self._client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
                configured = self._client.get_bucket_lifecycle(bucket)
                if configured is None or not configured.rules:
                    self._client.set_bucket_lifecycle(bucket, LifecycleConfig([_HOUSEKEEPING]))

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Return the objects below ``prefix``, in order of key."""
        with self._reporting(f"{prefix} cannot be listed"):
            found = self._client.list_objects(self.store.bucket, prefix=prefix, recursive=True)
            infos = [
                ObjectInfo(o.object_name or "", (o.etag or "").strip('"'), o.size or 0, o.last_modified) for o in found
            ]
        return sorted(infos, key=lambda info: info.key)

    def get(self, key: str) -> bytes | None:
        """Return an object's bytes, or None when there is none."""
        # The client's pool retries failed responses, but not a body that is truncated while it is read.
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_CUT_BODY),
            wait=tenacity.wait_random_exponential(0.2, max=2),
            stop=tenacity.stop_after_attempt(BODY_ATTEMPTS),
            reraise=True,
        )
        with self._reporting(f"{key} cannot be read"):
            return retrying(self._read_body, key)

    def _read_body(self, key: str) -> bytes | None:
        try:
            response = self._client.get_object(self.store.bucket, key)
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            # minio's frames and the error refer to each other: with its traceback it would keep its callers' tables
            # until a collection of cycles (more than 100 MB in a backfill of three years).
            error.with_traceback(None)
            return None
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def read(self, key: str) -> tuple[pa.Table, str] | None:
        """Return an object's table and the SHA-256 of its bytes, or None; DamagedObject for an unreadable object."""
        body = self.get(key)
        if body is None:
            return None
        return parse_parquet(body, key), hashlib.sha256(body).hexdigest()

    def write(self, key: str, table: pa.Table) -> int:
        """Serialize, parse again and compare, then PUT in one request; return the size in bytes.

        A killed process leaves the old object or the new one: the store shows a single PUT only once it is complete.
        """
        return self.write_hashed(key, table)[2]

    def write_hashed(self, key: str, table: pa.Table) -> tuple[str, str, int]:
        """Write as ``write`` does; return the ETag that a listing shows, the SHA-256 and the size of the bytes."""
        body = to_parquet(table)
        if not parse_parquet(body, key).equals(table.combine_chunks()):
            raise LakeError(f"{key}: the serialized table does not read back equal; nothing was written")
        return self.put(key, body), hashlib.sha256(body).hexdigest(), len(body)

    def put(self, key: str, body: bytes) -> str:
        """PUT an object's bytes in one request; return its ETag."""
        with self._reporting(f"{key} cannot be written"):
            written = self._client.put_object(
                self.store.bucket, key, io.BytesIO(body), len(body), content_type="application/vnd.apache.parquet"
            )
        return (written.etag or "").strip('"')

    def put_file(self, key: str, path: Path) -> tuple[ObjectInfo, str]:
        """PUT a file in one request and read it back; return the object as listed, and the SHA-256 of its bytes."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.put(key, path.read_bytes())
        found = next((info for info in self.list(key) if info.key == key), None)
        if found is None or self._stored_sha256(key) != digest:
            raise LakeError(f"{key}: the object does not read back equal; run the command again")
        return found, digest

    def _stored_sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._reporting(f"{key} cannot be read"):
            response = self._client.get_object(self.store.bucket, key)
            try:
                for chunk in response.stream(1 << 20):
                    digest.update(chunk)
            finally:
                response.close()
                response.release_conn()
        return digest.hexdigest()

    def merge(self, dataset: Dataset, key: str, new: pa.Table) -> Written:
        """Merge ``new`` into an object, the newest fetch of a key winning; write the object only if it changes.

        A damaged object is replaced by ``new`` alone; after the outcome ``repaired``, the caller fetches what else it
        may have had. The caller prevents concurrent writes to one key.
        """
        try:
            present = self.read(key)
            outcome = "created" if present is None else "replaced"
        except DamagedObject:
            present, outcome = None, "repaired"
        old = present[0] if present else None
        table = new if old is None else union(dataset, old, new)
        if old is not None and table.equals(old):
            return Written(key, "unchanged", len(old), 0)
        return Written(key, outcome, len(table), self.write(key, table))

    def remove(self, key: str) -> None:
        """Remove an object, if it exists."""
        with self._reporting(f"{key} cannot be removed"):
            self._client.remove_object(self.store.bucket, key)

    @contextlib.contextmanager
    def _reporting(self, problem: str) -> Iterator[None]:
        """Turn every error of the store in the block into a LakeError with endpoint, problem, cause and fix."""
        try:
            yield
        except _STORE_ERRORS as error:
            code = error.code if isinstance(error, S3Error) else None
            # The reason of the last attempt is reported.
            said = f"{code}: {error.message or 'no reason given'}" if isinstance(error, S3Error) else None
            said = said or describe_transport_error(getattr(error, "reason", None) or error)
            cause, fix = s3_problem(code, f"{said} {error}")
            where = f"{'https' if self.store.secure else 'http'}://{self.store.endpoint}/{self.store.bucket}"
            shown = " ".join(said.split())[:200]
            raise LakeError(f"object store {where}, {problem}: {cause} ({shown}): {fix}") from error


BODY_ATTEMPTS = 4
_CUT_BODY = (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError)
# An abandoned multipart upload is useless after a day, a replaced version after a month.
_HOUSEKEEPING = Rule(
    "Enabled",
    rule_id="tickmart-housekeeping",
    rule_filter=Filter(prefix=""),
    abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(1),
    noncurrent_version_expiration=NoncurrentVersionExpiration(30),
)
# Buckets that this process has configured.
_PREPARED: set[ObjectStore] = set()
_STORE_ERRORS = (S3Error, ServerError, InvalidResponseError, urllib3.exceptions.HTTPError, OSError)
