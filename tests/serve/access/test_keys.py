"""Bearer keys: which are valid, and how they are revoked while the endpoint runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.cli import main
from pipelines.errors import SpecError
from serve.access.keys import ApiKey, Keyring, key_digest, key_line, new_key, read_keys

DUPLICATE_NAMES = f"keys: [{{name: a, sha256: {'a' * 64}}}, {{name: a, sha256: {'b' * 64}}}]"


class Clock:
    """A clock that advances by 10 seconds with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def write(path: Path, *keys: tuple[str, str]) -> None:
    """Write a file of keys from pairs of name and key."""
    lines = [key_line(name, key) for name, key in keys]
    path.write_text("keys:\n" + "\n".join(lines) if lines else "keys: []\n")


def test_keys_differ_and_only_their_hash_is_in_the_file(tmp_path: Path) -> None:
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
def test_the_line_of_a_key_can_be_read_with_any_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "keys.yaml", (name, new_key()))
    assert [key.name for key in read_keys(tmp_path / "keys.yaml")] == [name]


@pytest.mark.parametrize("name", ["", " ", "\udcff"])
def test_no_key_is_made_for_an_invalid_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--new-key", name]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert "name: got" in output.err


@pytest.mark.parametrize("sent", [None, "", "pf-wrong", "ä\udc80", "x" * 100_000])
def test_an_unknown_key_is_invalid(sent: str | None) -> None:
    ring = Keyring([ApiKey(name="alice", sha256=key_digest(new_key()))])
    assert ring.owner(sent) is None


def test_the_hash_of_an_empty_key_admits_no_client() -> None:
    assert Keyring([ApiKey(name="nobody", sha256=key_digest(""))]).owner("") is None
    assert Keyring([ApiKey(name="nobody", sha256=key_digest(""))]).owner(None) is None


def test_a_key_is_revoked_and_another_admitted_while_the_endpoint_runs(tmp_path: Path) -> None:
    file, alice, bob = tmp_path / "keys.yaml", new_key(), new_key()
    write(file, ("alice", alice))
    ring = Keyring(file=file, clock=Clock())
    entry = ring.owner(alice)
    assert entry is not None and entry.name == "alice"
    write(file, ("bob", bob))
    os.utime(file, ns=(1, 1))
    assert ring.owner(alice) is None
    entry = ring.owner(bob)
    assert entry is not None and entry.name == "bob"


@pytest.mark.parametrize("emptied", ["keys:\n", "keys: []\n"])
def test_the_last_key_can_be_revoked(tmp_path: Path, emptied: str) -> None:
    file, alice = tmp_path / "keys.yaml", new_key()
    write(file, ("alice", alice))
    ring = Keyring(file=file, clock=Clock())
    assert ring.owner(alice) is not None
    file.write_text(emptied)
    assert ring.owner(alice) is None


def test_the_keys_of_a_file_that_becomes_invalid_stay_valid_and_the_problem_is_reported(
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
    problem = "cannot read the changed file of keys, so the keys read before stay valid"
    assert complaints[0].startswith(f"{file}: {problem}: ")
    assert f"keys.file: cannot read {file}" in complaints[1]


def test_an_unreadable_file_is_read_again_even_if_its_inode_time_and_size_do_not_change(
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
    ("content", "message"),
    [
        ("keys: [{name: a}]", "keys.0.sha256"),
        ("keys: [{name: a, sha256: X}]", "64 hex digits"),
        ("keys: [{name: a, token_per_minute: 3}]", "no such key; did you mean 'tokens_per_minute'"),
        ("[", "not valid YAML"),
        (DUPLICATE_NAMES, "keys.1.name"),
    ],
)
def test_an_invalid_file_is_rejected_with_the_path_of_the_key(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(SpecError, match=message):
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
def test_a_key_in_place_of_its_hash_is_in_no_message(tmp_path: Path, content: str) -> None:
    file, key = tmp_path / "keys.yaml", new_key()
    file.write_text(content.format(key=key))
    with pytest.raises(SpecError) as error:
        read_keys(file)
    assert error.value.message.startswith(f"{file}: ")
    assert key[3:20] not in error.value.message


@pytest.mark.parametrize("arguments", [["serve.yaml"], ["--set", "keys.file=keys.yaml"]])
def test_an_endpoint_does_not_start_without_its_file_of_keys(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("serve.yaml").write_text("keys: {file: keys.yaml}\n")
    assert main(["serve", *arguments]) == 2
    output = "".join(capsys.readouterr().err.split())
    assert "".join(f"keys.file: cannot read {tmp_path / 'keys.yaml'}".split()) in output
