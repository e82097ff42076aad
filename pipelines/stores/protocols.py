"""The stores that fsspec opens: which can hold OUTPUT, how they differ, and what they raise.

Knows protocols, packages and errors; nothing of names, runs or records.
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
# What the clients read when they are opened or imported. What the user has set stays.
_SETTINGS = {
    # 5xx, throttling and timeouts: exponential backoff with jitter
    "AWS_RETRY_MODE": "standard",
    "AWS_MAX_ATTEMPTS": "8",
    # asks another service about every bucket, for a kind of bucket that no test of ours has seen
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
}
_EXTRAS = {**dict.fromkeys(GOOGLE, "gcs"), **dict.fromkeys(AZURE, "azure")}
# Above what these clients send in parts: of S3's servers, some ignore the condition of the request
# that joins the parts.
_LARGEST_PUT = 5 * 2**30
_NO_CONDITIONS = ("NotImplemented", "XNotImplemented")
# What a listing calls that which changes with a file's content, the surest first.
_VERSIONS = (
    "ETag", "generation", "etag", "mtime", "LastModified", "last_modified", "updated", "modified",
    "modify",
)  # fmt: skip
_OF_NO_USE = {"memory": "holds what this process alone can see"}
_NEEDS_JAVA = ("hdfs",)
# The key of the job file that an error is about.
_KEYS: Mapping[type[PhifleetError], str] = {InputError: "input.path", OutputError: "output.path"}


def is_local(url: str) -> bool:
    return protocol_of(url) in ("", "file", "local")


def protocol_of(url: str) -> str:
    """Return the protocol of a URL, with all it is chained to, and none of a path."""
    return url.partition("://")[0] if "://" in url else ""


def open_store(
    url: str, kind: type[PhifleetError], **options: Any
) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URL, and the path there.

    Raises `kind` where the URL or this installation is wrong, StorageError where a server refuses.
    """
    protocol = protocol_of(url)
    where = f"{_KEYS.get(kind, 'path')}: {url}"
    if why := _OF_NO_USE.get(protocol):
        raise kind(f"{where}: {protocol}:// {why}; name a shared disk or a bucket")
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'phifleet[{extra}]'" if extra else "install that on every node"
        raise kind(f"{where}: a package is missing here: {error}; {remedy}") from error
    except Exception as error:
        if isinstance(error, filesystem_errors()) and protocol not in _NEEDS_JAVA:
            raise StorageError(f"{where}: cannot be opened: {error}") from error
        raise kind(f"{where}: cannot be opened: {_first_line(error)}{_hint(protocol)}") from error
    return filesystem, str(path)


def open_output(url: str, kind: type[PhifleetError]) -> tuple[fsspec.AbstractFileSystem, str]:
    """As `open_store`, for a store that is written. Raises `kind` where it is none of those whose
    clients can create a name only where it does not exist."""
    if is_local(url):
        return open_store(url, kind)
    if protocol_of(url) not in S3 | GOOGLE | AZURE:
        raise kind(
            f"{_KEYS.get(kind, 'path')}: {url}: nobody guarantees there that of many who create a "
            "name one wins, and documents could be lost or doubled; write to a disk, s3://, gs:// "
            "or abfs://, see docs/guarantees.md"
        )
    # others write beside us: what was listed a moment ago may not be true any more
    return open_store(url, kind, use_listings_cache=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hint(protocol: str) -> str:
    if protocol in _NEEDS_JAVA:
        return "; it needs Java and Hadoop's libhdfs on every node (JAVA_HOME, HADOOP_HOME)"
    if protocol in AZURE:
        return "; set AZURE_STORAGE_ACCOUNT_NAME and a credential, see docs/guarantees.md"
    return "; name a disk, s3://, gs:// or abfs://"


def filesystem_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what filesystems raise where they refuse, and others; for an `except`, evaluated
    late: only a client that is in use is known here."""
    # it ships no type information
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    found = [OSError, BotoCoreError, *others]
    if "aiohttp" in sys.modules:
        from aiohttp import ClientError

        found.append(ClientError)
    if "gcsfs" in sys.modules:
        from gcsfs.retry import ChecksumError, HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        found += [ChecksumError, HttpError, NonRetryableError, GoogleAuthError]
    if "adlfs" in sys.modules:
        from azure.core.exceptions import AzureError

        found.append(AzureError)
    return tuple(found)


def creating(url: str) -> Mapping[str, Any]:
    """Return the arguments of `pipe_file` that create a name in one request, if it is not there."""
    if protocol_of(url) in AZURE:
        # parts that were sent apart are joined under the same condition
        return {"mode": "create"}
    return {"mode": "create", "chunksize": _LARGEST_PUT}


def is_conflict(error: OSError) -> bool:
    """Return whether S3 could not say who came first, of two who create a name at once, and is to
    be asked again."""
    return _code(error) == "ConditionalRequestConflict"


def knows_no_conditions(error: BaseException | None) -> bool:
    """Return whether a store said that it cannot create a name only where it does not exist."""
    return error is not None and _code(error) in _NO_CONDITIONS


def _code(error: BaseException) -> str | None:
    """Return what S3 calls an error."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", {})
    code: str | None = answer.get("Error", {}).get("Code")
    return code


def version_of(info: Mapping[str, Any]) -> str:
    """Return what a listing tells of a file that changes with its content, "" where nothing."""
    return next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
