"""The stores that fsspec opens: which can hold OUTPUT, how they differ, and what they raise.

Knows protocols, client packages and their errors; knows nothing of names, runs or records.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import fsspec

from pipelines.errors import InputError, OutputError, PhifleetError, StorageError

S3 = frozenset({"s3", "s3a"})
GOOGLE = frozenset({"gs", "gcs"})
AZURE = frozenset({"abfs", "abfss", "az"})
"""The protocols of URLs of Amazon S3 and compatible stores, Google Cloud Storage, and Azure."""
HAS_LISTINGS_CACHE = S3 | GOOGLE | AZURE
"""The protocols whose clients have the option `use_listings_cache`."""
WRITABLE = "a local directory, or a URL that begins with s3://, gs:// or abfs://"
"""The stores that can be written, as error messages name them."""
# Environment variables that the clients read when they are imported or opened. A value that the
# user has set is kept.
_SETTINGS = {
    # 5xx, throttling and timeouts: exponential backoff with jitter
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "8",
    # with it, gcsfs sends a request to another service for every bucket, for a kind of bucket that
    # our tests do not cover
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
}
_EXTRAS = {**dict.fromkeys(GOOGLE, "gcs"), **dict.fromkeys(AZURE, "azure")}
# Larger than any file that these clients upload in parts. Some S3 servers ignore the condition of
# the request that joins the parts, so that a conditional write must be a single request.
_LARGEST_PUT = 5 * 2**30
_NO_CONDITIONS = ("NotImplemented", "XNotImplemented")
# The fields of a listing that change with a file's content, the most reliable first.
_VERSIONS = (
    "ETag", "generation", "etag", "mtime_ns", "mtime", "LastModified", "last_modified", "updated",
    "modified", "modify", "blob_id",
)  # fmt: skip
_OF_NO_USE = {"memory": "is visible only to this process, not to the workers"}
_NEEDS_JAVA = ("hdfs",)
# The key of the job file that an error is about, if the caller names no other.
_KEYS: Mapping[type[PhifleetError], str] = {InputError: "input.path", OutputError: "output.path"}


def is_local(url: str) -> bool:
    """Return whether a URL is a path or a file:// URL on this machine."""
    return protocol_of(url) in ("", "file", "local")


def is_writable(url: str) -> bool:
    """Return whether files can be written to a URL's store: its client can create a name on the
    condition that the name does not exist."""
    return is_local(url) or protocol_of(url) in S3 | GOOGLE | AZURE


def protocol_of(url: str) -> str:
    """Return the part of a URL before `://`, such as `s3` or the chain `simplecache::s3`; "" for a
    plain path."""
    return url.partition("://")[0] if "://" in url else ""


def _lacks_bucket(url: str) -> bool:
    """Return whether a URL of an object store names no bucket, or on Azure no container."""
    if protocol_of(url) not in S3 | GOOGLE | AZURE:
        return False
    # Azure also has the form abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH
    bucket = url.partition("://")[2].partition("/")[0].partition("@")[0]
    return not bucket.strip()


def open_store(
    url: str, kind: type[PhifleetError], key: str | None = None, **options: Any
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URL, and the URL's path on it.

    `kind` is the class of errors in the URL. Messages name `key`, the key of the job or serve file
    that holds the URL; None stands for `input.path` if `kind` is InputError, and for `output.path`
    if it is OutputError. `options` go to the filesystem's client.

    Raises `kind` if the URL is wrong or this installation lacks a package that the URL needs, and
    StorageError if the server returns an error.
    """
    protocol = protocol_of(url)
    key = key or _KEYS.get(kind, "path")
    where = f"{key}: {url}"
    if "\0" in url:
        raise kind(f"{key}: {url!r}: a path cannot contain a null character; remove it")
    if _lacks_bucket(url):
        raise kind(f"{where}: the URL has no bucket; write {protocol}://BUCKET/PATH")
    if why := _OF_NO_USE.get(protocol):
        raise kind(f"{where}: {protocol}:// {why}; use a shared disk or a bucket")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        install = f"run pip install 'phifleet[{extra}]'" if extra else "install it"
        raise kind(
            f"{where}: a package is missing here: {error}; {install} on every node"
        ) from error
    except Exception as error:
        if isinstance(error, filesystem_errors()) and protocol not in _NEEDS_JAVA:
            raise StorageError(
                f"{where}: cannot be opened: {error}; check the connection and the credentials"
            ) from error
        raise kind(f"{where}: cannot be opened: {_first_line(error)}{_hint(protocol)}") from error
    return filesystem, str(path)


def open_output(
    url: str, kind: type[PhifleetError], key: str | None = None
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URL that is to be written, and the URL's path on it.

    `kind` and `key` are those of `open_store`. Raises as `open_store` does, and `kind` if the store
    cannot be written (see `is_writable`).
    """
    if is_local(url):
        return open_store(url, kind, key)
    if not is_writable(url):
        where = f"{key or _KEYS.get(kind, 'path')}: {url}"
        raise kind(
            f"{where}: this store cannot guarantee that only one of several writers creates a "
            "name, so that documents could be lost or duplicated; use "
            f"{WRITABLE}, see docs/guarantees.md"
        )
    # other processes write at the same time: a cached listing may be out of date
    return open_store(url, kind, key, use_listings_cache=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hint(protocol: str) -> str:
    if protocol in _NEEDS_JAVA:
        return "; it needs Java and Hadoop's libhdfs on every node (JAVA_HOME, HADOOP_HOME)"
    if protocol in AZURE:
        return "; set AZURE_STORAGE_ACCOUNT_NAME and a credential, see docs/guarantees.md"
    return "; use a disk, s3://, gs:// or abfs://"


def filesystem_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exception types that filesystems raise when an operation fails, and `others`.

    Meant for an `except` clause, which calls it when an exception is raised: the types of a client
    are included only if that client has been imported by then.
    """
    # it ships no type information
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    types = [OSError, BotoCoreError, *others]
    if "aiohttp" in sys.modules:
        from aiohttp import ClientError

        types.append(ClientError)
    if "gcsfs" in sys.modules:
        from gcsfs.retry import ChecksumError, HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        types += [ChecksumError, HttpError, NonRetryableError, GoogleAuthError]
    if "adlfs" in sys.modules:
        from azure.core.exceptions import AzureError

        types.append(AzureError)
    return tuple(types)


def creating(url: str) -> Mapping[str, Any]:
    """Return the keyword arguments with which `pipe_file` of a bucket's fsspec filesystem creates a
    name in one request, and only if the name does not exist. `url` is a URL in that bucket."""
    if protocol_of(url) in AZURE:
        # the request that joins separately uploaded parts has the same condition
        return {"mode": "create"}
    return {"mode": "create", "chunksize": _LARGEST_PUT}


def is_conflict(error: OSError) -> bool:
    """Return whether the error is S3's answer that another request is creating the same name at
    this moment, so that the outcome is open and the request must be sent again."""
    return _code(error) == "ConditionalRequestConflict"


def knows_no_conditions(error: BaseException | None) -> bool:
    """Return whether the error is a store's answer that it does not support conditional writes."""
    return error is not None and _code(error) in _NO_CONDITIONS


def _code(error: BaseException) -> str | None:
    """Return S3's code of the error that this one was raised from."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", {})
    code: str | None = answer.get("Error", {}).get("Code")
    return code


def version_of(info: Mapping[str, Any]) -> str:
    """Return the value of a file's listing that changes with its content (an ETag, a generation or
    a time of change), or "" if the store gives none. `info` is fsspec's entry for the file."""
    return next(iter(versions_of(info).values()), "")


def versions_of(info: Mapping[str, Any]) -> dict[str, str]:
    """Return all values of a file's listing that change with its content, by name, the most
    reliable first. `info` is fsspec's entry for the file; listings and single entries of one store
    may have different names."""
    return {name: str(info[name]).strip('"') for name in _VERSIONS if info.get(name)}
