"""Bytes under `s3://bucket/key` URIs: a folder per bucket, or S3. Both implement `ledgerline.ports.ObjectStore`.

A put is atomic and a body of any size is streamed: `put_file` and `open_stream` hold one block at a time. Which key a
thing gets is decided by its writer, not here.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import io
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from dagster import ConfigurableResource
from pydantic import PrivateAttr

from ledgerline.errors import ConfigurationError, LedgerlineError, Overtaken

BLOCK = 1 << 20
SCRAP_SECONDS = 86_400  # no put takes a day; each process looks once, at its first put
LOCK = ".lock"
TRIES = 6  # of one request: S3 slows a prefix down (503 SlowDown) while it makes room, with pauses of 20 s in all
_CHANGED = ("PreconditionFailed", "412", "ConditionalRequestConflict")
STAGING = ".staging"  # below the root, so that the final rename stays on one file system; no bucket starts with a dot


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` -> ("bucket", "a/b"); the key may be empty. Raises LedgerlineError if it could leave."""
    if "@" in uri.partition("://")[2].partition("/")[0]:  # not shown: it may be a password
        raise LedgerlineError(
            "an object URI holds a user or a password: write s3://<bucket>/<key>, credentials are found by boto3"
        )
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    parts = key.removesuffix("/").split("/") if key else []
    good_bucket = bucket and not bucket.startswith(".") and "\\" not in bucket
    good_key = not any(part in ("", ".", "..") for part in parts)
    if not uri.startswith("s3://") or not good_bucket or not good_key or "\0" in uri:
        raise LedgerlineError(f"{uri!r} is no object URI: write s3://<bucket>/<key> without empty, '.' or '..' parts")
    return bucket, key


def _remove_scraps(folder: str, *, older_than: float) -> None:
    """Remove the files of puts that were killed; `older_than` is in seconds since 1970, so that no put under way ends."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.stat(follow_symlinks=False).st_mtime < older_than:
                    os.unlink(entry.path)
            except FileNotFoundError:  # another process was faster
                continue


def _object_key(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri)
    if not key or key.endswith("/"):
        raise LedgerlineError(f"{uri!r} names a bucket or a folder: an object needs a key")
    return bucket, key


class DirectoryObjectStore(ConfigurableResource):
    """A folder per bucket below `root`. `durable` syncs each object to disk before it becomes visible."""

    root: str
    bucket: str = "ledgerline"
    durable: bool = True

    _swept: bool = PrivateAttr(default=False)

    def uri(self, *parts: str) -> str:
        """The URI of a key in the platform's own bucket."""
        return f"s3://{self.bucket}/{'/'.join(parts)}"

    def put(self, uri: str, body: bytes) -> str:
        """Store and return the sha256 hex digest of the body."""
        return self._put(uri, io.BytesIO(body))

    def put_file(self, uri: str, path: str | Path) -> str:
        """Store a file's bytes, a block at a time, and return their sha256 hex digest."""
        with open(path, "rb") as stream:
            return self._put(uri, stream)

    def stamp(self, uri: str) -> str | None:
        """The sha256 hex digest of the object's bytes; None where there is no object."""
        path = self._path(*_object_key(uri))
        return _digest_of(path) if path.is_file() else None

    def put_unless_changed(self, uri: str, body: bytes, *, stamp: str | None) -> str:
        """As `put`, if the object still has this stamp (None: is not there). Raises Overtaken if not."""
        with self._alone():
            if self.stamp(uri) != stamp:
                raise _overtaken(uri)
            return self.put(uri, body)

    def get(self, uri: str) -> bytes:
        """The bytes. Raises FileNotFoundError naming the URI."""
        with self.open_stream(uri) as stream:
            return stream.read()

    def open_stream(self, uri: str) -> BinaryIO:
        """The bytes as a binary file to read from and close. Raises FileNotFoundError naming the URI."""
        path = self._path(*_object_key(uri))
        if not path.is_file():
            raise FileNotFoundError(f"no object {uri} below {self.root}")
        return open(path, "rb")

    def exists(self, uri: str) -> bool:
        return self._path(*_object_key(uri)).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """URIs below a prefix, sorted; as on S3 the prefix need not end at a '/'."""
        bucket, _ = split_uri(prefix)
        yield from (f"s3://{bucket}/{key}" for key in self._keys(prefix))

    def list_stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(URI, stamp) below a prefix, sorted; the stamp of an object differs once it is put anew."""
        bucket, _ = split_uri(prefix)
        for key in self._keys(prefix):
            try:
                about = os.stat(os.path.join(self.root, bucket, key), follow_symlinks=False)
            except FileNotFoundError:  # deleted since it was listed
                continue
            yield f"s3://{bucket}/{key}", f"{about.st_size}-{about.st_mtime_ns}"

    def _keys(self, prefix: str) -> Iterator[str]:
        bucket, key = split_uri(prefix)
        home = Path(self.root) / bucket
        start = home / key.rpartition("/")[0]
        if not start.is_dir():
            return
        keys = (
            os.path.relpath(os.path.join(folder, name), home)
            for folder, _, names in os.walk(start, followlinks=False)
            for name in names
        )
        yield from sorted(one for one in keys if one.startswith(key))

    def delete(self, uri: str) -> None:
        """Remove the object; nothing happens where it is not there (as on S3)."""
        self._path(*_object_key(uri)).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one process compares and then puts; the lock ends with its holder."""
        with _disk_errors(self.root, self.root):
            os.makedirs(self.root, exist_ok=True)
            handle = open(os.path.join(self.root, LOCK), "w")  # noqa: SIM115 - closed below
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`."""
        return _probe(self)

    def _put(self, uri: str, stream: BinaryIO) -> str:
        target = self._path(*_object_key(uri))
        with _disk_errors(uri, self.root):
            return self._stage(target, stream)

    def _stage(self, target: Path, stream: BinaryIO) -> str:
        staging = os.path.join(self.root, STAGING)
        if not os.path.isdir(staging):
            os.makedirs(staging, exist_ok=True)
        if not self._swept:
            self._swept = True
            _remove_scraps(staging, older_than=time.time() - SCRAP_SECONDS)
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=staging)
        try:
            with os.fdopen(handle, "wb") as out:
                while block := stream.read(BLOCK):
                    digest.update(block)
                    out.write(block)
                if self.durable:
                    out.flush()
                    os.fsync(out.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def _path(self, bucket: str, key: str) -> Path:
        """The file of an object. Raises LedgerlineError where a part of the key is a symlink: it may lead anywhere."""
        home = os.path.join(self.root, bucket)
        path = home
        for part in key.split("/"):
            path = os.path.join(path, part)
            if os.path.islink(path):
                raise LedgerlineError(f"s3://{bucket}/{key} leads through a symlink out of its bucket: remove {path}")
        return Path(path)


@contextmanager
def _disk_errors(uri: str, root: str) -> Iterator[None]:
    """Turns what the disk says into one sentence with the remedy."""
    try:
        yield
    except OSError as error:
        remedy = (
            "free space there" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "let it be written to"
        )
        raise LedgerlineError(
            f"{uri} cannot be stored below {root} ({error.strerror or error}); nothing is lost: {remedy}, then run this "
            "again"
        ) from error


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _overtaken(uri: str) -> Overtaken:
    return Overtaken(
        f"{uri} was written by another run meanwhile; nothing is lost: run this again on what it holds now."
    )


class S3ObjectStore(ConfigurableResource):
    """The same on S3. Credentials come as everywhere in boto3; `endpoint_url` is for S3-compatible servers.

    S3 verifies the sha256 of what it receives, and keeps it as metadata. `prefix` begins the keys of `uri`: a branch has its
    own. With `kms_key_id` objects are encrypted with that key, by default through the bucket's key, which costs fewer calls.
    """

    bucket: str = "ledgerline"
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    kms_key_id: str = ""
    kms_bucket_key: bool = True

    _client: Any = PrivateAttr(default=None)

    def uri(self, *parts: str) -> str:
        """The URI of a key in the platform's own bucket."""
        return f"s3://{self.bucket}/{'/'.join(filter(None, [self.prefix, *parts]))}"

    def put(self, uri: str, body: bytes) -> str:
        """Store and return the sha256 hex digest of the body."""
        with _s3_errors(uri):
            return self._put(uri, body)

    def stamp(self, uri: str) -> str | None:
        """The object's ETag; None where there is no object."""
        bucket, key = _object_key(uri)
        try:
            with _s3_errors(uri):
                return str(self._s3().head_object(Bucket=bucket, Key=key)["ETag"])
        except FileNotFoundError:
            return None

    def put_unless_changed(self, uri: str, body: bytes, *, stamp: str | None) -> str:
        """As `put`, if the object still has this stamp (None: is not there). Raises Overtaken if not."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if stamp is None else {"IfMatch": stamp}
        mark = uuid.uuid4().hex
        with _s3_errors(uri):
            try:
                return self._put(uri, body, mark, **condition)
            except ClientError as error:
                gone = stamp is not None and error.response["Error"]["Code"] == "NoSuchKey"
                if error.response["Error"]["Code"] not in _CHANGED and not gone:
                    raise
                # The answer to a put that succeeded may have been lost: sent again, it meets its own object.
                if not gone and self._mark_of(uri) == mark:
                    return hashlib.sha256(body).hexdigest()
                raise _overtaken(uri) from error

    def _put(self, uri: str, body: bytes, mark: str = "", **condition: str) -> str:
        bucket, key = _object_key(uri)
        digest = hashlib.sha256(body)
        self._s3().put_object(
            Bucket=bucket,
            Key=key,
            Body=body,
            ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            Metadata={"sha256": digest.hexdigest(), **({"mark": mark} if mark else {})},
            **condition,
        )
        return digest.hexdigest()

    def _mark_of(self, uri: str) -> str | None:
        """The mark of the put that made the object, if it had one."""
        bucket, key = _object_key(uri)
        metadata: dict[str, str] = self._s3().head_object(Bucket=bucket, Key=key)["Metadata"]
        return metadata.get("mark")

    def put_file(self, uri: str, path: str | Path) -> str:
        """Store a file's bytes (multipart where large) and return their sha256 hex digest."""
        bucket, key = _object_key(uri)
        digest = _digest_of(Path(path))
        with open(path, "rb") as stream, _s3_errors(uri):
            self._s3().upload_fileobj(
                stream, bucket, key, ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {"sha256": digest}}
            )
        return digest

    def get(self, uri: str) -> bytes:
        """The bytes. Raises FileNotFoundError naming the URI."""
        with self.open_stream(uri) as stream:
            return stream.read()

    def open_stream(self, uri: str) -> BinaryIO:
        """The bytes as a binary file to read from and close. Raises FileNotFoundError naming the URI."""
        bucket, key = _object_key(uri)
        with _s3_errors(uri), self._s3().get_object(Bucket=bucket, Key=key)["Body"] as body:
            spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=8 * BLOCK))  # noqa: SIM115 - the caller closes it
            shutil.copyfileobj(body, spool, BLOCK)
        spool.seek(0)
        return spool

    def exists(self, uri: str) -> bool:
        bucket, key = _object_key(uri)
        try:
            with _s3_errors(uri):
                self._s3().head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """URIs below a prefix, sorted."""
        yield from (uri for uri, _ in self.list_stamped(prefix))

    def list_stamped(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(URI, stamp) below a prefix, sorted; the stamp of an object differs once its bytes differ."""
        bucket, key = split_uri(prefix)
        found: dict[str, str] = {}
        with _s3_errors(prefix):
            for page in self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
                for item in page.get("Contents", []):
                    found[f"s3://{bucket}/{item['Key']}"] = f"{item['Size']}-{item['ETag']}"
        yield from sorted(found.items())

    def delete(self, uri: str) -> None:
        """Remove the object; nothing happens where it is not there."""
        bucket, key = _object_key(uri)
        with _s3_errors(uri):
            self._s3().delete_object(Bucket=bucket, Key=key)

    def remove_branch(self) -> int:
        """Delete every object below the branch's prefix, the lake too; how many. Raises ConfigurationError without one."""
        if not self.prefix:
            raise ConfigurationError("this object store has no prefix of a branch: set LEDGERLINE_ENV=branch")
        removed, prefix = 0, self.uri() + "/"
        with _s3_errors(prefix):
            pages = self._s3().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=split_uri(prefix)[1]):
                keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
                if not keys:
                    continue
                answer = self._s3().delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
                if answer.get("Errors"):
                    first = answer["Errors"][0]
                    raise ConfigurationError(
                        f"S3 refused to delete {len(answer['Errors'])} objects below {prefix} ({first['Code']}): give these "
                        "credentials s3:DeleteObject, then run this again"
                    )
                removed += len(keys)
        return removed

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`."""
        return _probe(self)

    def _s3(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            patient = Config(
                retries={"mode": "standard", "total_max_attempts": TRIES}, connect_timeout=10, read_timeout=60
            )
            client = boto3.client("s3", endpoint_url=self.endpoint_url, region_name=self.region, config=patient)
            if self.kms_key_id:  # here, because boto3's transfer of files takes no bucket key
                for operation in ("PutObject", "CreateMultipartUpload"):
                    client.meta.events.register(f"provide-client-params.s3.{operation}", self._encrypted)
            self._client = client
        return self._client

    def _encrypted(self, params: dict[str, Any], **_: object) -> dict[str, Any]:
        key = {"SSEKMSKeyId": self.kms_key_id, "BucketKeyEnabled": self.kms_bucket_key}
        return {**params, "ServerSideEncryption": "aws:kms", **key}


def _probe(store: DirectoryObjectStore | S3ObjectStore) -> Iterator[str]:
    uri = store.uri(f"doctor-{uuid.uuid4().hex}")
    yield "write"
    digest = store.put(uri, b"a probe")
    try:
        yield "read"
        if hashlib.sha256(store.get(uri)).hexdigest() != digest:
            raise LedgerlineError(f"{uri} is not read as it was written: see what stands between here and the store.")
        yield "list"
        if uri not in store.list(uri):
            raise LedgerlineError(f"{uri} was written and is not listed: see what stands between here and the store.")
    finally:
        store.delete(uri)
    yield "delete"
    if store.exists(uri):
        raise LedgerlineError(f"{uri} cannot be deleted: give these credentials the right to, and delete it.")


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """Turns what S3 says into the errors of this port."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code == "NoSuchBucket":
            raise ConfigurationError(f"the bucket of {uri} does not exist: create it or correct its name") from error
        if code in ("404", "NoSuchKey"):
            raise FileNotFoundError(f"no object {uri}") from error
        if code in ("AccessDenied", "403"):
            raise ConfigurationError(f"S3 denies access to {uri}: give these credentials the right to it") from error
        raise LedgerlineError(f"S3 refuses {uri} ({code}); nothing is lost: run this again in some minutes") from error
    except BotoCoreError as error:  # no connection, no credentials, a broken transfer
        raise LedgerlineError(
            f"S3 cannot be asked for {uri} ({error}); nothing is lost: check the connection and the credentials, then run "
            "this again"
        ) from error
