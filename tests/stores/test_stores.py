"""A store that cannot be used is reported in one line; all others behave alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chaos.proxy import FaultyProxy
from fakes_storage import AzureServer, BucketServer, GoogleServer, S3Server
from quick import QuickRun
from runs import phifleet

from jobs.cli import main
from pipelines.corpus.files import list_files
from pipelines.errors import InputError, StorageError
from pipelines.models.resolve import Model
from pipelines.storage import Storage
from pipelines.stores.protocols import is_local, version_of


def _job(directory: Path, *, source: str, output: str) -> str:
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump({
        "input": {"path": source, "id_column": "doc"},
        "output": {"path": output},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }))  # fmt: skip
    return str(path)


def _error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the only line of standard error of a command, which must end with exit code 2."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


NO_OUTPUT = [
    "sftp://host/out", "memory://out", "http://127.0.0.1:9/out", "hdfs://host:8020/out",
    "ftp://host/out", "simplecache::s3://bucket/out", "s4://bucket/out",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_OUTPUT)
def test_an_output_without_exclusive_creation_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    job = _job(tmp_path, source=str(tmp_path), output=url)
    line = _error_line(capsys, "run", job)
    assert f"phifleet: output.path: {url}: " in line and "docs/guarantees.md" in line
    assert url in _error_line(capsys, "status", url)
    assert url in _error_line(capsys, "verify", url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://corpus", "is visible only to this process"),
        ("s4://bucket/corpus", "Protocol not known: s4"),
        ("hdfs://host:8020/corpus", "needs Java and Hadoop's libhdfs"),
        ("dbfs://corpus", "cannot be opened"),
        ("smb://host/corpus", "a package is missing here"),
    ],
)
def test_an_input_that_cannot_be_opened_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, reason: str
) -> None:
    job = _job(tmp_path, source=url, output=str(tmp_path / "out"))
    line = _error_line(capsys, "run", job)
    assert f"phifleet: input.path: {url}: " in line and reason in line
    assert not (tmp_path / "out").exists()


NO_BUCKET = [
    "s3://", "s3:///corpus", "s3a:///corpus", "gs://", "gcs:///corpus", "abfs://", "az:///corpus",
    "abfs://@account.dfs.core.windows.net/corpus",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_BUCKET)
def test_a_url_without_a_bucket_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    job = _job(tmp_path, source=str(tmp_path), output=url)
    assert f"phifleet: output.path: {url}: " in _error_line(capsys, "run", job)
    job = _job(tmp_path, source=url, output=str(tmp_path / "out"))
    line = _error_line(capsys, "run", job)
    assert f"phifleet: input.path: {url}: " in line and "has no bucket" in line


def test_a_path_with_a_null_character_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = _job(tmp_path, source=str(tmp_path), output="\0x")
    line = _error_line(capsys, "run", job)
    assert "output.path: " in line and "\\x00x': a path cannot contain a null" in line
    job = _job(tmp_path, source="\0x", output=str(tmp_path / "out"))
    assert "input.path: '\\x00x': " in _error_line(capsys, "run", job)


def test_azure_without_credentials_is_refused_naming_the_variable_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adlfs = pytest.importorskip("adlfs")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    # fsspec would reuse a client that another test opened with credentials
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    job = _job(tmp_path, source=str(tmp_path), output="abfs://container/out")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in _error_line(capsys, "run", job)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("gs://bucket/x", "gcsfs", "gcs"), ("abfs://bucket/x", "adlfs", "azure")],
)
@pytest.mark.parametrize("section", ["input", "output"])
def test_a_missing_package_is_named_with_its_remedy(
    tmp_path: Path, url: str, package: str, extra: str, section: str
) -> None:
    urls = {"input": str(tmp_path), "output": str(tmp_path / "out"), section: url}
    job = _job(tmp_path, source=urls["input"], output=urls["output"])
    program = (
        f"import sys; sys.modules[{package!r}] = None; from jobs.cli import main; "
        f"sys.exit(main(['run', {job!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"{section}.path: {url}: a package is missing here" in line
    assert f"pip install 'phifleet[{extra}]'" in line


def test_paths_and_file_urls_are_local_and_no_others() -> None:
    assert all(map(is_local, ["/a", "a/b", "file:///a", "local:///a"]))
    assert not any(map(is_local, ["s3://a", "filecache::s3://a", "memory://a"]))


@pytest.mark.parametrize("protocol", ["s3", "gs", "abfs"])
def test_an_input_file_that_changed_and_kept_its_size_has_another_version(
    protocol: str, request: pytest.FixtureRequest
) -> None:
    server: BucketServer = request.getfixturevalue(protocol)
    storage = Storage(f"{server.new_bucket()}/corpus")
    storage.write("a.parquet", b"12345")
    storage.write("b.parquet", b"12345")
    before = list_files(storage.url)
    assert list_files(storage.url) == before
    storage.write("b.parquet", b"54321")
    after = list_files(storage.url)
    assert [file.size_bytes for file in after] == [5, 5]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_version_is_taken_from_the_most_reliable_field() -> None:
    assert version_of({"mtime": 5, "generation": "7", "etag": "e"}) == "7"
    assert version_of({"last_modified": "monday", "etag": "e"}) == "e"
    assert version_of({"size": 5}) == ""


@pytest.mark.parametrize("protocol", ["gs", "abfs"])
def test_a_missing_bucket_is_a_storage_error(protocol: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(protocol)
    storage = Storage(f"{protocol}://no-such-bucket/out")
    for operation in (storage.create, storage.write):
        with pytest.raises(StorageError, match="no-such-bucket/out/a: cannot"):
            operation("a", b"")
    with pytest.raises(InputError, match="no-such-bucket"):
        list_files(storage.url)


def test_a_read_only_azure_key_is_a_storage_error(
    abfs: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"{abfs.new_bucket()}/out")
    for name in ("d/a", "d/b"):
        storage.write(name, b"")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", abfs.read_only_connection())
    storage.filesystem.clear_instance_cache()
    with pytest.raises(StorageError, match=r"out/d: cannot delete"):
        storage.remove("d")
    with pytest.raises(StorageError, match=r"out/d/c: cannot create"):
        storage.create("d/c", b"")
    assert storage.names("d") == ["a", "b"]
    monkeypatch.undo()
    storage.filesystem.clear_instance_cache()


def test_a_record_of_any_size_is_created_by_one_request(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"{s3.new_bucket()}/out")
    with FaultyProxy(s3.endpoint, share=0.0, seed=0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        storage.filesystem.clear_instance_cache()
        # as large as the plan of about 300,000 files
        assert storage.create("plan", bytes(101 * 2**20))
        assert (proxy.requests["POST"], proxy.requests["PUT"]) == (0, 1)
        assert not storage.create("plan", b"")
        monkeypatch.undo()
        storage.filesystem.clear_instance_cache()


@pytest.mark.parametrize("protocol", ["gs", "abfs"])
def test_a_run_on_other_buckets_is_complete_and_may_be_repeated(
    protocol: str, tmp_path: Path, tiny_model: Model, request: pytest.FixtureRequest
) -> None:
    server: GoogleServer | AzureServer = request.getfixturevalue(protocol)
    output = f"{server.new_bucket()}/out"
    run = QuickRun(tmp_path, output, 50, **server.environment)
    for _ in range(2):
        code, result, errors = run()
        assert (code, result["status"], result["documents"]) == (0, "done", 50), errors
    assert phifleet("verify", output).returncode == 0
