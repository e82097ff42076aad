"""Tests that names are resolved to models: built once, read in place, downloaded or rejected.

No engine is started. The hub is a server on loopback with the routes that the client requests.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from model_hub import COMMIT, PHI3_128K, Hub

from pipelines.errors import ModelError
from pipelines.models import noise
from pipelines.models import resolve as models

ROOT = Path(models.__file__).parents[2]
NEW_ROPE = {
    "rope_scaling": None,
    "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 8192},
}
PHI3_4K = PHI3_128K | {"max_position_embeddings": 4096, "rope_scaling": None}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[models.Model]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PHIFLEET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield models.resolve("tiny-random")


def model_of(directory: Path, config: Mapping[str, object]) -> models.Model:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    return models.resolve(str(directory))


def test_phi3_mini_has_its_known_size(tmp_path: Path) -> None:
    model = model_of(tmp_path, PHI3_128K)
    assert model.parameters == 3_821_079_552
    assert model.kv_bytes_per_token == 393_216
    assert (model.head_dim, model.max_model_len, model.sliding_window) == (96, 131_072, 262_144)
    assert not model.random_weights


def test_fewer_kv_heads_and_tied_embeddings_are_counted(tmp_path: Path) -> None:
    full = model_of(tmp_path, PHI3_128K)
    small = model_of(tmp_path, PHI3_128K | {"num_key_value_heads": 8, "tie_word_embeddings": True})
    assert small.kv_bytes_per_token == full.kv_bytes_per_token // 4
    saved = 32 * 2 * 24 * 96 * 3072 + 32064 * 3072
    assert full.parameters - small.parameters == saved


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 4096),
        ({"rope_scaling": {"type": "su"}}, 4096),
        (NEW_ROPE, 4096),
        (NEW_ROPE | {"original_max_position_embeddings": None}, 8192),
        ({"rope_scaling": None, "rope_parameters": {"rope_type": "default"}}, None),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, None),
        ({"rope_scaling": None}, None),
    ],
)
def test_short_rope_length_is_read_from_old_and_new_files(
    tmp_path: Path, change: dict[str, object], expected: int | None
) -> None:
    assert model_of(tmp_path, PHI3_128K | change).short_rope_len == expected


def test_configs_of_other_architectures_are_read_too(tmp_path: Path) -> None:
    nested = {"model_type": "many", "text_config": PHI3_4K | {"head_dim": 128}}
    assert model_of(tmp_path, nested).head_dim == 128
    unused = PHI3_4K | {"use_sliding_window": False}
    assert model_of(tmp_path, PHI3_4K).sliding_window == 262_144
    assert model_of(tmp_path, unused).sliding_window is None


def test_random_model_has_random_weights_and_phi3_lengths(built: models.Model) -> None:
    assert built.random_weights
    assert (built.name, built.revision) == ("tiny-random", noise.revision())
    assert built.path.name == f"tiny-random-{built.revision}"
    assert (built.max_model_len, built.short_rope_len) == (131_072, 4096)
    assert (built.head_dim, built.kv_bytes_per_token) == (96, 768)
    weights = (built.path / "model.safetensors").stat().st_size
    assert 0 < weights - 2 * built.parameters < 4096
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301  # our own bytes


def test_built_in_model_is_built_once(built: models.Model) -> None:
    before = (built.path / "model.safetensors").stat().st_mtime_ns
    assert models.resolve("tiny-random") == built
    assert models.resolve("tiny-random", built.revision) == built
    assert (built.path / "model.safetensors").stat().st_mtime_ns == before
    assert list(built.path.parent.iterdir()) == [built.path]
    assert built.path.stat().st_mode == built.path.parent.stat().st_mode


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", models.BUILT_IN)
def test_another_revision_of_a_built_in_model_is_rejected(name: str) -> None:
    with pytest.raises(ModelError, match=r"not 'abc'.*Set model\.revision to null"):
        models.resolve(name, "abc")


def test_the_trained_model_is_part_of_phifleet() -> None:
    model = models.resolve("tiny")
    assert (model.name, model.path, model.random_weights) == ("tiny", models.TRAINED_PATH, False)
    assert (model.max_model_len, model.short_rope_len, model.head_dim) == (131_072, 4096, 96)
    assert models.resolve("tiny", model.revision) == model
    assert (model.path / "model.safetensors").stat().st_size <= 8_000_000


def test_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PHIFLEET_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="Set the environment variable PHIFLEET_CACHE"):
        models.resolve("tiny-random")


def test_concurrent_builders_leave_one_complete_model(tmp_path: Path) -> None:
    target = tmp_path / "models" / "tiny-1"
    all_building = threading.Barrier(4)

    def build(directory: Path) -> None:
        all_building.wait(timeout=10)
        (directory / "config.json").write_text("whole")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: models.build_once(target, build), range(4)))
    assert (target / "config.json").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_killed_build_leaves_no_model_and_the_next_one_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "tiny-1"
    killed = (
        "import os, sys, pathlib, pipelines.models.resolve as m\n"
        "m.build_once(pathlib.Path(sys.argv[1]), lambda d: (d / 'half').touch() or os._exit(9))"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(target)], check=False, cwd=ROOT)
    assert done.returncode == 9
    models.build_once(target, lambda directory: (directory / "whole").touch())
    assert [file.name for file in target.iterdir()] == ["whole"]


def test_local_revision_follows_the_content(tmp_path: Path) -> None:
    first = model_of(tmp_path, PHI3_128K)
    assert model_of(tmp_path, PHI3_128K).revision == first.revision
    assert len(first.revision) == 16
    assert first.path == tmp_path.resolve()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "seen").write_text("now")
    assert models.resolve(str(tmp_path)).revision == first.revision
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    weighted = models.resolve(str(tmp_path)).revision
    other = model_of(tmp_path, PHI3_128K | {"sliding_window": 262145}).revision
    assert len({first.revision, weighted, other}) == 3
    assert models.resolve(str(tmp_path), "mine").revision == "mine"


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"num_attention_heads": null}'])
def test_directory_without_a_usable_config_is_rejected(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        models.resolve(str(tmp_path))


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def resolve_elsewhere(
    name: str, revision: str | None, home: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Resolve a name in a new process, because huggingface_hub reads the environment on import.

    `home` is the hub's cache. Prints the model's name, revision and files.
    """
    command = (
        "import sys, json, pipelines.models.resolve as m\n"
        "from pipelines.errors import ModelError\n"
        "try: model = m.resolve(sys.argv[1], json.loads(sys.argv[2]))\n"
        "except ModelError as error: sys.exit(str(error))\n"
        "print(model.name, model.revision, *sorted(f.name for f in model.path.iterdir()))"
    )
    argv = [sys.executable, "-c", command, name, json.dumps(revision)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env = kept | {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"} | environment
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_hub_name_is_pinned_fetched_and_then_found_offline(hub: str, tmp_path: Path) -> None:
    expected = f"team/phi {COMMIT} config.json model.safetensors\n"
    for revision in (None, "main", COMMIT):
        online = resolve_elsewhere("team/phi", revision, tmp_path, HF_ENDPOINT=hub)
        assert (online.stdout, online.returncode) == (expected, 0), online.stderr
        offline = resolve_elsewhere("team/phi", revision, tmp_path, HF_HUB_OFFLINE="1")
        assert (offline.stdout, offline.returncode) == (expected, 0), offline.stderr


def test_snapshot_without_weights_is_rejected(tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "models--team--phi"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "snapshots" / COMMIT).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "config.json").write_text(json.dumps(PHI3_128K))
    done = resolve_elsewhere("team/phi", None, tmp_path, HF_HUB_OFFLINE="1")
    assert "contains no file *.safetensors" in done.stderr


@pytest.mark.parametrize("name", ["nobody/nothing", "no such name", "./missing"])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_unknown_name_is_rejected_with_remedies(
    hub: str, tmp_path: Path, name: str, offline: str
) -> None:
    done = resolve_elsewhere(name, None, tmp_path, HF_ENDPOINT=hub, HF_HUB_OFFLINE=offline)
    assert done.returncode == 1
    remedies = (f"phifleet model {name}", "HF_HUB_OFFLINE", "HF_TOKEN", "local directory")
    assert all(part in done.stderr for part in (repr(name), *remedies))
    assert "Traceback" not in done.stderr
