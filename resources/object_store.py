"""Bytes under `s3://bucket/key` URIs: a folder per bucket, or S3. Both implement `ledgerline.ports.ObjectStore`.

A put is atomic and a body of any size is streamed: `put_file` and `open_stream` hold one block at a time. Which key a
thing gets is decided by its writer, not here.
"""

from __future__ import annotations

import errno
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

from ledgerline.errors import ConfigurationError, LedgerlineError

BLOCK = 1 << 20
SCRAP_SECONDS = 86_400  # no put takes a day; each process looks once, at its first put
STAGING = ".staging"  # below the root, so that the final rename stays on one file system; no bucket starts with a dot


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` -> ("bucket", "a/b"); the key may be empty. Raises LedgerlineError if it could leave."""
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


class S3ObjectStore(ConfigurableResource):
    """The same on S3. Credentials come as everywhere in boto3; `endpoint_url` is for S3-compatible servers."""

    bucket: str = "ledgerline"
    endpoint_url: str | None = None
    region: str | None = None

    _client: Any = PrivateAttr(default=None)

    def uri(self, *parts: str) -> str:
        """The URI of a key in the platform's own bucket."""
        return f"s3://{self.bucket}/{'/'.join(parts)}"

    def put(self, uri: str, body: bytes) -> str:
        """Store and return the sha256 hex digest of the body."""
        bucket, key = _object_key(uri)
        with _s3_errors(uri):
            self._s3().put_object(Bucket=bucket, Key=key, Body=body)
        return hashlib.sha256(body).hexdigest()

    def put_file(self, uri: str, path: str | Path) -> str:
        """Store a file's bytes (multipart where large) and return their sha256 hex digest."""
        bucket, key = _object_key(uri)
        digest = hashlib.sha256()
        with open(path, "rb") as stream, _s3_errors(uri):
            while block := stream.read(BLOCK):
                digest.update(block)
            stream.seek(0)
            self._s3().upload_fileobj(stream, bucket, key)
        return digest.hexdigest()

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

    def probe(self) -> Iterator[str]:
        """See `ledgerline.doctor.Probed`."""
        return _probe(self)

    def _s3(self) -> Any:
        if self._client is None:
            import boto3

            self._client = boto3.client("s3", endpoint_url=self.endpoint_url, region_name=self.region)
        return self._client


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
