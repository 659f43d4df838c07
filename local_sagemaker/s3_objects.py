"""s3:// URIs read from and written to an S3 endpoint, for stores that are not a directory of this machine.

Here: the same interface as objects.py over botocore. What is read is kept in a folder while its ETag stays; the folder
is emptied when a server starts. Credentials are those of the environment that starts the server (AWS's default chain).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from local_sagemaker.errors import JobError
from local_sagemaker.objects import Objects, split_uri

MISSING = ("404", "NoSuchKey", "NotFound")


class S3Objects(Objects):
    """Buckets behind an S3 endpoint. `root` holds a copy of what was read; its paths are valid until the next read."""

    page_size = 1000  # names that S3 lists at once, at most

    def __init__(self, endpoint: str, root: Path, *, region: str) -> None:
        super().__init__(root)
        self.endpoint, self.region = endpoint, region
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True, mode=0o700)
        self._etags: dict[str, str] = {}
        self._made: Any = None

    def path(self, uri: str) -> Path:
        """A copy of the object as it is now; a path at which nothing is, where there is no such object."""
        copy = super().path(uri)
        bucket, key = split_uri(uri)
        if not key:
            return copy
        found = self._head(uri, bucket, key)
        if found is None:
            copy.unlink(missing_ok=True)
        elif self._etags.get(uri) != found or not copy.is_file():
            self._fetch(uri, bucket, key, copy)
        return copy

    def list(self, uri: str) -> Iterator[tuple[str, Path]]:
        bucket, key = split_uri(uri)
        if key and self._head(uri, bucket, key) is not None:
            copy = self.path(uri)
            yield copy.name, copy
            return
        prefix = f"{key.rstrip('/')}/" if key else ""
        pages = self._call(uri, lambda: [*self._pages(bucket, prefix)])
        for name in sorted(name for page in pages for name in page):
            if name != prefix and not name.endswith("/"):  # a console makes empty objects of folders
                yield name[len(prefix) :], self.path(f"s3://{bucket}/{name}")

    def put(self, uri: str, body: bytes) -> None:
        bucket, key = split_uri(uri)
        self._call(uri, lambda: self._client().put_object(Bucket=bucket, Key=key, Body=body))

    def upload_file(self, source: Path, uri: str) -> None:
        bucket, key = split_uri(uri)
        with source.open("rb") as file:
            self._call(uri, lambda: self._client().put_object(Bucket=bucket, Key=key, Body=file))

    def _pages(self, bucket: str, prefix: str) -> Iterator[Sequence[str]]:
        pages = self._client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": self.page_size}):
            yield [found["Key"] for found in page.get("Contents", [])]

    def _head(self, uri: str, bucket: str, key: str) -> str | None:
        found = self._call(uri, lambda: self._client().head_object(Bucket=bucket, Key=key.rstrip("/")), absent=True)
        return found and str(found["ETag"])

    def _fetch(self, uri: str, bucket: str, key: str, copy: Path) -> None:
        answer = self._call(uri, lambda: self._client().get_object(Bucket=bucket, Key=key))
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.root, delete=False) as file:
            self._call(uri, lambda: shutil.copyfileobj(answer["Body"], file))
        os.replace(file.name, copy)
        self._etags[uri] = str(answer["ETag"])

    def _call(self, uri: str, ask: Any, *, absent: bool = False) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except ClientError as error:
            if absent and error.response["Error"]["Code"] in MISSING:
                return None
            raise JobError(f"{self.endpoint} refused {uri} ({error.response['Error']['Code']}); {_REMEDY}") from error
        except BotoCoreError as error:
            raise JobError(f"{self.endpoint} cannot be asked for {uri} ({type(error).__name__}); {_REMEDY}") from error

    def _client(self) -> Any:
        if self._made is None:
            import botocore.session
            from botocore.config import Config

            config = Config(retries={"total_max_attempts": 4, "mode": "standard"}, s3={"addressing_style": "path"})
            self._made = botocore.session.get_session().create_client(
                "s3", region_name=self.region, endpoint_url=self.endpoint, config=config
            )
        return self._made


_REMEDY = "see that it runs, that the bucket exists and that the server was started with credentials that may use it."


def is_endpoint(object_root: str) -> bool:
    """Whether an object root is the URL of an S3 endpoint, not a folder."""
    return object_root.startswith(("http://", "https://"))


def resolved(object_root: str | Path) -> str:
    """An object root as the server records it: the URL, or the absolute path of the folder."""
    text = str(object_root)
    return text.rstrip("/") if is_endpoint(text) else str(Path(text).absolute())
