"""Files below the corpus that are not read are counted and named with the reason."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import write, write_lines

from pipelines.corpus.files import Listing, list_corpus
from pipelines.corpus.local_files import Found
from pipelines.corpus.not_read import MAX_NAMES, NotRead, Reason
from pipelines.corpus.selection import Selection
from pipelines.errors import InputError
from pipelines.stores.protocols import open_store

PARQUET_BYTES = b"PAR1 and more, PAR1"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return a directory with one file of a corpus."""
    directory = tmp_path / "data"
    write(directory / "a.parquet")
    return directory


def _names(listing: Listing, top: Path) -> list[str]:
    return [Path(file.path).relative_to(top).as_posix() for file in listing.files]


def _not_read(path: Path | str, exclude: str = "") -> dict[str, list[str]]:
    """Return the names that are not read, by reason."""
    reasons = list_corpus(str(path), exclude).not_read.to_json()
    return {reason: entry["first"] for reason, entry in reasons.items()}


def test_a_directory_with_nothing_else_reports_nothing(corpus: Path) -> None:
    listing = list_corpus(str(corpus))
    assert (listing.not_read.count, listing.not_read.describe()) == (0, "")
    assert listing.not_read.to_json() == {}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("notes.txt", b"hello", "other_ending"),
        ("a.csv", b"", "other_ending"),
        ("a.parquet.bak", PARQUET_BYTES, "parquet_with_other_ending"),
        ("_SUCCESS", b"", "hidden"),
        ("_metadata", PARQUET_BYTES, "hidden"),
        (".a.parquet.crc", b"crc", "hidden"),
        ("_day=1", b"a file, not a partition", "hidden"),
        ("part.crc", b"crc", "bookkeeping"),
        ("sub_$folder$", b"", "bookkeeping"),
        ("dataset_info.json", b"{}", "bookkeeping"),
        ("empty.parquet", b"", "empty"),
        ("empty.jsonl", b"", "empty"),
        ("empty", b"", "empty"),
        ("LICENSE", b"Some text", "no_ending"),
        ("lines", b'{"id": "1"}\n', "no_ending"),
    ],
)
def test_a_file_that_is_not_read_is_named_with_the_reason(
    corpus: Path, name: str, content: bytes, reason: str
) -> None:
    (corpus / "sub").mkdir()
    (corpus / "sub" / name).write_bytes(content)
    assert _not_read(corpus) == {reason: [f"sub/{name}"]}
    assert _names(list_corpus(str(corpus)), corpus) == ["a.parquet"]


def test_a_hidden_directory_counts_once_and_is_not_entered(corpus: Path) -> None:
    for name in ("_temporary/0/b.parquet", "_temporary/0/c.parquet", ".git/d.parquet"):
        write(corpus / name)
    expected = {"hidden": [".git/", "_temporary/"]}
    assert _not_read(corpus) == expected
    assert _not_read(f"{corpus}/**") == expected


def test_a_partition_of_a_column_with_an_underscore_is_read(corpus: Path) -> None:
    write(corpus / "_day=1" / "b.parquet")
    assert _names(list_corpus(str(corpus)), corpus) == ["_day=1/b.parquet", "a.parquet"]
    assert _not_read(corpus) == {}


@pytest.mark.parametrize("pattern", ["", "/**"])
def test_the_output_and_those_of_other_runs_count_once(corpus: Path, pattern: str) -> None:
    for name in ("out", "sub/earlier"):
        write(corpus / name / "answers" / "part-000000.parquet")
        write(corpus / name / "answers" / "part-000001.parquet")
    (corpus / "sub" / "earlier" / "_run").mkdir()
    (corpus / "sub" / "earlier" / "_run" / "job.json").write_text("{}")
    listing = list_corpus(f"{corpus}{pattern}", exclude=f"{corpus}/out")
    assert _names(listing, corpus) == ["a.parquet"]
    assert listing.not_read.to_json() == {"output": {"count": 2, "first": ["out/", "sub/earlier/"]}}


def test_an_output_that_the_user_names_is_read(corpus: Path) -> None:
    write(corpus / "_run" / "job.json")
    assert _names(list_corpus(str(corpus)), corpus) == ["a.parquet"]


def test_pipes_sockets_and_broken_links_are_not_opened(corpus: Path) -> None:
    os.mkfifo(corpus / "pipe.parquet")
    (corpus / "gone.parquet").symlink_to(corpus / "nothing")
    (corpus / "round.parquet").symlink_to(corpus / "round.parquet")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(corpus / "socket"))
    listener.close()
    expected = {
        "broken_link": ["gone.parquet", "round.parquet"],
        "not_a_file": ["pipe.parquet", "socket"],
    }
    assert _not_read(corpus) == expected
    assert _not_read(f"{corpus}/*") == expected


def test_a_pipe_that_the_user_names_is_refused(corpus: Path) -> None:
    os.mkfifo(corpus / "pipe.parquet")
    with pytest.raises(InputError, match=r"pipe\.parquet is a pipe, a socket or a device"):
        list_corpus(str(corpus / "pipe.parquet"))


def test_links_to_a_directory_above_are_named(corpus: Path) -> None:
    (corpus / "sub").mkdir()
    (corpus / "sub" / "up").symlink_to(corpus)
    (corpus / "self").symlink_to(".")
    assert _not_read(corpus) == {"link_to_directory_above": ["self", "sub/up"]}


def test_a_file_with_several_names_is_read_once(corpus: Path) -> None:
    os.link(corpus / "a.parquet", corpus / "b.parquet")
    (corpus / "0.parquet").symlink_to(corpus / "a.parquet")
    (corpus / "v2").mkdir()
    write(corpus / "v2" / "c.parquet")
    (corpus / "current").symlink_to("v2")
    assert _names(list_corpus(str(corpus)), corpus) == ["a.parquet", "v2/c.parquet"]
    assert _not_read(corpus) == {"same_file": ["0.parquet", "b.parquet", "current/c.parquet"]}


def test_of_a_file_without_an_ending_a_link_with_one_is_read(corpus: Path) -> None:
    # so do caches of Hugging Face's hub keep their files
    write(corpus / "blobs" / "0f3a")
    (corpus / "snapshots").mkdir()
    (corpus / "snapshots" / "train.parquet").symlink_to("../blobs/0f3a")
    assert _names(list_corpus(str(corpus)), corpus) == ["a.parquet", "snapshots/train.parquet"]
    assert _not_read(corpus) == {"same_file": ["blobs/0f3a"]}


@pytest.mark.parametrize("name", ["b.parq", "b.pq", "b.PARQUET", "b.Pq", "000000_0", "data-0.001"])
def test_a_file_that_looks_like_parquet_is_read(corpus: Path, name: str) -> None:
    write(corpus / name)
    assert sorted(_names(list_corpus(str(corpus)), corpus)) == sorted(["a.parquet", name])
    assert _not_read(corpus) == {}


@pytest.mark.parametrize("name", ["b.bak", "b.txt", "b", "b.jsonl"])
def test_a_file_that_the_user_names_is_judged_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    (parquet,) = list_corpus(str(write(tmp_path / name))).files
    assert parquet.kind == "parquet"
    (lines,) = list_corpus(str(write_lines(tmp_path / name, [{"id": "1"}]))).files
    assert lines.kind == "jsonl"
    (tmp_path / name).write_bytes(b"<html>")
    if name.endswith("jsonl"):
        return
    with pytest.raises(InputError, match=r"neither Parquet nor JSON lines: it begins with b'<html"):
        list_corpus(str(tmp_path / name))


def test_a_glob_that_names_an_ending_reads_such_files_by_their_first_bytes(corpus: Path) -> None:
    write(corpus / "b.bak")
    write_lines(corpus / "c.bak", [{"id": "1"}])
    (corpus / "d.bak").write_text("no data")
    listing = list_corpus(f"{corpus}/*.bak")
    assert [str(file.kind) for file in listing.files] == ["parquet", "jsonl"]
    assert listing.not_read.names == {Reason.ENDING: ["d.bak"]}


def test_a_named_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(InputError, match=r"a\.jsonl is empty"):
        list_corpus(str(tmp_path / "a.jsonl"))


def test_a_directory_without_data_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text")
    (tmp_path / "b.parquet").touch()
    with pytest.raises(InputError) as error:
        list_corpus(str(tmp_path))
    assert (
        "2 files or directories are not read: 1 with other endings (a.csv), 1 empty (b.parquet)"
        in error.value.message
    )


def test_only_the_first_names_are_kept_and_fewer_are_shown() -> None:
    not_read = NotRead()
    for number in range(10_000):
        not_read.add(Reason.ENDING, f"{number:04}.jpg")
    not_read.add(Reason.HIDDEN, "_new\nline")
    assert not_read.to_json() == {
        "hidden": {"count": 1, "first": ["_new\\nline"]},
        "other_ending": {
            "count": 10_000,
            "first": [f"{number:04}.jpg" for number in range(MAX_NAMES)],
        },
    }
    assert not_read.describe() == (
        "10,001 files or directories are not read: 1 hidden by a name that begins with _ or . "
        "(_new\\nline), 10,000 with other endings (0000.jpg, 0001.jpg, 0002.jpg, ...)"
    )


def test_first_bytes_are_read_of_few_files_with_one_other_ending() -> None:
    read: list[str] = []

    def first_bytes(path: str) -> bytes:
        read.append(path)
        return b"jpeg"

    not_read = NotRead()
    selection = Selection("top", lambda _: False, first_bytes, not_read)
    endings = ["jpg", "JPG", *(f"e{number}" for number in range(1000))]
    found = [Found(f"top/{n}.{ending}", 4, "") for ending in endings for n in range(5)]
    assert selection.choose(found) == []
    assert len(read) == 3 * 100
    assert not_read.counts == {Reason.ENDING: 5 * 1002}


def test_a_glob_reads_the_answers_of_earlier_runs(tmp_path: Path) -> None:
    for name in ("run-1", "run-2"):
        write(tmp_path / name / "answers" / "part-000000.parquet")
        write(tmp_path / name / "_run" / "job.json")
    listing = list_corpus(f"{tmp_path}/run-*/answers/*.parquet")
    assert len(listing.files) == 2
    assert len(list_corpus(f"{tmp_path}/run-*/answers").files) == 2


ODD_NAMES = [
    "a b.parquet", "a?.parquet", "a*.parquet", "[a].parquet", "a#b.parquet", "a%20b.parquet",
    "a\nb.parquet", "ä.parquet", "a:b.parquet", "a=b.parquet", "{a,b}.parquet", "-a.parquet",
    "a'\"b.parquet", " a.parquet ", "~a.parquet",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_files_with_odd_names_are_found_by_directory_and_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd [dir]" / name
    write(path.with_name("x.parquet")).rename(path)
    for named in (str(path), str(path.parent), f"{path.parent}/", f"file://{path}"):
        if named.startswith("file:") and name == " a.parquet ":
            continue
        assert [file.path for file in list_corpus(named).files] == [str(path)], named


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("d[[]1]/*.parquet", ["d[1]/a.parquet", "d[1]/b.parquet"]),
        ("d[[]1]/[!a].parquet", ["d[1]/b.parquet"]),
        ("d*/?.parquet", ["d[1]/a.parquet", "d[1]/b.parquet", "d1/a.parquet"]),
        ("d[0-9]/a.parquet", ["d1/a.parquet"]),
        ("**/b.parquet", ["d[1]/b.parquet"]),
        ("d[1]/a.parquet", ["d[1]/a.parquet"]),
    ],
)
def test_a_glob_may_match_the_characters_of_wildcards(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    for name in ("d[1]/a.parquet", "d[1]/b.parquet", "d1/a.parquet"):
        write(tmp_path / name)
    assert _names(list_corpus(f"{tmp_path}/{pattern}"), tmp_path) == sorted(names)


def test_a_name_that_is_not_utf8_is_refused(corpus: Path) -> None:
    path = os.fsencode(corpus) + b"/\xff.parquet"
    write(corpus / "x.parquet").rename(os.fsdecode(path))
    with pytest.raises(InputError, match=r"\\udcff.parquet: the file's name is not UTF-8"):
        list_corpus(str(corpus))


def test_a_glob_reads_the_directories_that_it_matches(tmp_path: Path) -> None:
    # Spark and Dask write a data set to a directory that is named like a file
    for name in ("a.parquet/part-0.parquet", "b.parquet/x/part-0.parquet", "c.parquet"):
        write(tmp_path / name)
    for pattern in ("*.parquet", "*", "**", "**/*.parquet"):
        listing = list_corpus(f"{tmp_path}/{pattern}")
        assert _names(listing, tmp_path) == [
            "a.parquet/part-0.parquet", "b.parquet/x/part-0.parquet", "c.parquet"
        ]  # fmt: skip


@pytest.fixture(params=["local", "s3"])
def fill(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], str]:
    """Return a function that writes files by their names, and returns the URL above them."""
    top = str(tmp_path) if request.param == "local" else request.getfixturevalue("s3").new_bucket()

    def write_all(files: dict[str, bytes]) -> str:
        filesystem, root = open_store(f"{top}/top", InputError)
        for name, content in files.items():
            filesystem.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            filesystem.pipe_file(f"{root}/{name}", content)
        return f"{top}/top"

    return write_all


def test_a_bucket_reports_the_same_as_a_disk(fill: Callable[[dict[str, bytes]], str]) -> None:
    url = fill({
        "a.parquet": PARQUET_BYTES, "sub/000000_0": PARQUET_BYTES, "b.PQ": PARQUET_BYTES,
        "notes.txt": b"x", "_SUCCESS": b"", "_tmp/1.parquet": b"x", "_tmp/2.parquet": b"x",
        "empty.parquet": b"", "README": b"text", "x.bak": PARQUET_BYTES,
        "out/answers/1.parquet": b"x", "out/answers/2.parquet": b"x",
        "old/answers/1.parquet": b"x", "old/_run/job.json": b"{}", "_c=1/d.parquet": PARQUET_BYTES,
        "a b#%20[1].parquet": PARQUET_BYTES,
    })  # fmt: skip
    _, root = open_store(url, InputError)
    for pattern in ("", "/", "/**"):
        listing = list_corpus(url + pattern, exclude=f"{root}/out")
        names = [file.path.removeprefix(root + "/") for file in listing.files]
        assert names == [
            "_c=1/d.parquet", "a b#%20[1].parquet", "a.parquet", "b.PQ", "sub/000000_0"
        ]  # fmt: skip
        assert {str(file.kind) for file in listing.files} == {"parquet"}
        assert {reason.value: set(names) for reason, names in listing.not_read.names.items()} == {
            "hidden": {"_SUCCESS", "_tmp/"}, "other_ending": {"notes.txt"}, "empty":
            {"empty.parquet"}, "no_ending": {"README"}, "parquet_with_other_ending": {"x.bak"},
            "output": {"old/", "out/"},
        }  # fmt: skip
    (named,) = list_corpus(f"{url}/x.bak").files
    assert named.kind == "parquet"
