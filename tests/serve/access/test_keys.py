"""Bearer keys: who is let in, and how one is taken back while the endpoint runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.errors import SpecError
from serve.access.keys import ApiKey, Keyring, key_digest, key_line, new_key, read_keys

TWICE = f"keys: [{{name: a, sha256: {'a' * 64}}}, {{name: a, sha256: {'b' * 64}}}]"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def write(path: Path, *named: tuple[str, str]) -> None:
    lines = [key_line(name, key) for name, key in named]
    path.write_text("keys:\n" + "\n".join(lines) if lines else "keys: []\n")


def test_two_keys_are_never_the_same_and_the_hash_is_all_that_is_kept(tmp_path: Path) -> None:
    first, second = new_key(), new_key()
    assert first != second
    write(tmp_path / "keys.yaml", ("alice", first))
    assert first not in (tmp_path / "keys.yaml").read_text()
    assert read_keys(tmp_path / "keys.yaml") == (ApiKey(name="alice", sha256=key_digest(first)),)


@pytest.mark.parametrize(
    "name",
    [
        "Alice, of ops",
        "a: b",
        "yes",
        '"quoted" {x}',
        "Zoë\nline",
        "Zoë😀",
        "a\x7f\u2028b",
        "a " * 500,
    ],
)
def test_the_line_of_a_key_can_be_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    write(tmp_path / "keys.yaml", (name, new_key()))
    assert [key.name for key in read_keys(tmp_path / "keys.yaml")] == [name]


@pytest.mark.parametrize("name", ["", " ", "\udcff"])
def test_no_key_is_made_for_a_name_that_no_key_may_have(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--new-key", name]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "name: got" in told.err


@pytest.mark.parametrize("sent", [None, "", "pf-wrong", "ä\udc80", "x" * 100_000])
def test_nobody_else_is_let_in(sent: str | None) -> None:
    ring = Keyring([ApiKey(name="alice", sha256=key_digest(new_key()))])
    assert ring.owner(sent) is None


def test_the_hash_of_nothing_lets_nobody_in() -> None:
    assert Keyring([ApiKey(name="nobody", sha256=key_digest(""))]).owner("") is None
    assert Keyring([ApiKey(name="nobody", sha256=key_digest(""))]).owner(None) is None


def test_a_key_is_taken_back_and_another_given_while_it_runs(tmp_path: Path) -> None:
    file, alice, bob = tmp_path / "keys.yaml", new_key(), new_key()
    write(file, ("alice", alice))
    ring = Keyring(file=file, clock=Clock())
    found = ring.owner(alice)
    assert found is not None and found.name == "alice"
    write(file, ("bob", bob))
    os.utime(file, ns=(1, 1))
    assert ring.owner(alice) is None
    found = ring.owner(bob)
    assert found is not None and found.name == "bob"


@pytest.mark.parametrize("emptied", ["keys:\n", "keys: []\n"])
def test_the_last_key_can_be_taken_back(tmp_path: Path, emptied: str) -> None:
    file, alice = tmp_path / "keys.yaml", new_key()
    write(file, ("alice", alice))
    ring = Keyring(file=file, clock=Clock())
    assert ring.owner(alice) is not None
    file.write_text(emptied)
    assert ring.owner(alice) is None


def test_a_file_that_breaks_lets_in_whom_it_let_in_before_and_is_complained_of(
    tmp_path: Path,
) -> None:
    file, alice = tmp_path / "keys.yaml", new_key()
    write(file, ("alice", alice))
    complaints: list[str] = []
    ring = Keyring(file=file, complain=complaints.append, clock=Clock())
    file.write_text("keys: [{name: alice, sha256: short}]")
    assert ring.owner(alice) is not None
    file.unlink()
    assert ring.owner(alice) is not None
    assert "64 hex digits" in complaints[0]
    assert complaints[0].startswith(f"{file}: not read, so that who was let in before still is: ")
    assert "cannot read" in complaints[1]


def test_a_file_that_could_not_be_read_is_read_once_it_can_be_though_it_looks_the_same(
    tmp_path: Path,
) -> None:
    file, alice, bob = tmp_path / "keys.yaml", new_key(), new_key()
    write(file, ("alice", alice))
    complaints: list[str] = []
    ring = Keyring(file=file, complain=complaints.append, clock=Clock())
    write(file, ("bob", bob))
    readable = file.read_bytes()
    file.write_bytes(b"\xff" * len(readable))
    os.utime(file, ns=(1, 1))
    assert [ring.owner(alice) is not None for _ in range(3)] == [True] * 3
    assert len(complaints) == 1
    file.write_bytes(readable)
    os.utime(file, ns=(1, 1))
    assert ring.owner(alice) is None
    assert ring.owner(bob) is not None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("keys: [{name: a}]", "keys.0.sha256"),
        ("keys: [{name: a, sha256: X}]", "64 hex digits"),
        ("keys: [{name: a, token_per_minute: 3}]", "no such key; did you mean 'tokens_per_minute'"),
        ("[", "not valid YAML"),
        (TWICE, "keys.1.name"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(SpecError, match=told):
        read_keys(tmp_path / "keys.yaml")


@pytest.mark.parametrize(
    "content",
    [
        "keys: [{{name: alice, sha256: {key}}}]",
        "keys: [{{name: alice, sha256: {key}, sha256_of: {key}}}]",
        "keys: [{key}]",
        "keys: [[{key}]]",
        "keys: {{{key}: alice}}",
        "keys: {key}",
        "{key}",
        "",
    ],
)
def test_a_key_that_stands_where_its_hash_belongs_is_in_no_message(
    tmp_path: Path, content: str
) -> None:
    file, key = tmp_path / "keys.yaml", new_key()
    file.write_text(content.format(key=key))
    with pytest.raises(SpecError) as refused:
        read_keys(file)
    assert refused.value.message.startswith(f"{file}: ")
    assert key[3:20] not in refused.value.message


@pytest.mark.parametrize("named", [["serve.yaml"], ["--set", "keys.file=keys.yaml"]])
def test_an_endpoint_does_not_start_without_its_file_of_keys(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("serve.yaml").write_text("keys: {file: keys.yaml}\n")
    assert main(["serve", *named]) == 2
    told = "".join(capsys.readouterr().err.split())
    assert "".join(f"keys.file: cannot read {tmp_path / 'keys.yaml'}".split()) in told
