"""Resolves a model's name to a directory, a revision, and the model's shape.

A name is a built-in model's, a local directory's, or a Hugging Face name. This module does not load
weights, and does not know vLLM or the memory of a GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import ModelError
from pipelines.models import noise

TRAINED, RANDOM = BUILT_IN = ("tiny", "tiny-random")
"""The names of the built-in models: one that is trained, and one with random weights."""
TRAINED_PATH = Path(__file__).with_name("trained")
"""The directory with the files of the model TRAINED."""
BF16_BYTES = 2
"""Bytes of one number in the data type bfloat16."""
WEIGHTS = "*.safetensors"
"""The pattern of the names of files with weights."""
FETCHED_FILES = [WEIGHTS, "*.json", "tokenizer.model", "*.jinja"]
"""The patterns of the names of all files that are downloaded from the hub, weights included."""


@dataclass(frozen=True, slots=True)
class Model:
    """One revision of a model on this machine, with the shape that its config.json gives.

    `path` is the model's directory. `max_model_len` and `sliding_window` are in tokens.
    `short_rope_len` is the number of tokens up to which a LongRoPE model uses its short factors,
    None if it has one set of factors, and so needs one pool. With `random_weights`, the model's
    answers mean nothing.
    """

    name: str
    revision: str
    path: Path
    max_model_len: int
    short_rope_len: int | None
    sliding_window: int | None
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied_embeddings: bool
    random_weights: bool = False

    @property
    def parameters(self) -> int:
        """Return the number of weights: exact for Phi-3, an estimate for other architectures.

        Per layer: query, key and value; output; gate, up and down; two norms.
        """
        attention = self.hidden_size * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab_size * self.hidden_size
        return self.layers * layer + embeddings + self.hidden_size

    @property
    def multiplied_parameters(self) -> int:
        """Return the number of weights that each token is multiplied with: neither the
        embeddings nor the output layer, which only the last token of a prompt needs."""
        embeddings = 1 if self.tied_embeddings else 2
        return self.parameters - embeddings * self.vocab_size * self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Return the size of one token's entries in the KV cache, over all layers, in bf16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BF16_BYTES


def resolve(name: str, revision: str | None = None, *, weights: bool = True) -> Model:
    """Find, build or download the model `name`, and read its shape. Raises ModelError.

    `tiny` is part of phifleet; `tiny-random` is built into the cache once. They have one revision:
    any other is an error. A directory is used in place, and takes `revision` as a mere label (None:
    see `content_revision`). Any other name is downloaded from the Hugging Face hub at `revision`, a
    branch, tag or commit, or found in the hub's cache if there is no network. Without `weights`,
    only the files for the tokenizer and the shape are downloaded.
    """
    if name == TRAINED:
        return _trained(revision)
    if name == RANDOM:
        return _random(revision)
    if not on_hub(name):
        path = Path(name).expanduser()
        return read_model(name, revision or content_revision(path), path.resolve())
    path = fetch(name, revision, weights=weights)
    return read_model(name, path.name, path)


def on_hub(name: str) -> bool:
    """Return True if `name` must be a model of the hub: no built-in model or local directory."""
    return name not in BUILT_IN and not Path(name).expanduser().is_dir()


def read_model(name: str, revision: str, path: Path, *, random_weights: bool = False) -> Model:
    """Return the model in the directory `path`, with the shape from its config.json.

    Raises ModelError if the file is missing or does not describe a usable model.
    """
    config = _read_config(name, path / "config.json")
    try:
        heads = int(config["num_attention_heads"])
        hidden_size = int(config["hidden_size"])
        return Model(
            name=name,
            revision=revision,
            path=path,
            max_model_len=int(config["max_position_embeddings"]),
            short_rope_len=_short_rope_len(config),
            sliding_window=_sliding_window(config),
            layers=int(config["num_hidden_layers"]),
            hidden_size=hidden_size,
            intermediate_size=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden_size // heads),
            vocab_size=int(config["vocab_size"]),
            tied_embeddings=bool(config.get("tie_word_embeddings")),
            random_weights=random_weights,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"Model {name!r}: {path / 'config.json'} does not give the model's shape ({error!r}). "
            "Set model.name to a decoder-only chat model."
        ) from error


def content_revision(path: Path) -> str:
    """Return a revision for a local directory: 16 hex digits of a SHA-256.

    It covers the names and sizes of all files, and the content of JSON files. Weights count by
    their size only, because reading them would take minutes. Hidden files do not count.
    """
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if any(part.startswith(".") for part in relative.parts) or not file.is_file():
            continue
        digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def build_once(target: Path, build: Callable[[Path], None]) -> None:
    """Create the directory `target` with `build` if it does not exist.

    `build` is called with an empty temporary directory, which is then renamed, so that `target` is
    always complete. If several processes build at once, the first one to finish wins.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        # a subdirectory, because the temporary directory itself is readable by its owner only
        built = Path(scratch) / target.name
        built.mkdir()
        build(built)
        try:
            built.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def _trained(revision: str | None) -> Model:
    installed = content_revision(TRAINED_PATH)
    _check_revision(TRAINED, installed, revision)
    return read_model(TRAINED, installed, TRAINED_PATH)


def _random(revision: str | None) -> Model:
    installed = noise.revision()
    _check_revision(RANDOM, installed, revision)
    target = _cache_directory() / "models" / f"{RANDOM}-{installed}"
    try:
        build_once(target, noise.build)
    except OSError as error:
        raise ModelError(
            f"Model {RANDOM!r} cannot be built in {target}: {error}. Set the environment variable "
            "PHIFLEET_CACHE to a writable directory."
        ) from error
    return read_model(RANDOM, installed, target, random_weights=True)


def _check_revision(name: str, installed: str, revision: str | None) -> None:
    if revision not in (None, installed):
        raise ModelError(
            f"model.revision: built-in model {name!r} has revision {installed}, not {revision!r}; "
            "it depends on the versions of phifleet and Python. Set model.revision to null."
        )


def _cache_directory() -> Path:
    if directory := os.environ.get("PHIFLEET_CACHE"):
        return Path(directory).expanduser().resolve()
    if parent := os.environ.get("XDG_CACHE_HOME"):
        return Path(parent) / "phifleet"
    return Path.home() / ".cache" / "phifleet"


def fetch(
    name: str, revision: str | None, *, weights: bool, files: Sequence[str] = FETCHED_FILES
) -> Path:
    """Download a model of the hub, and return its directory, which is named after the commit.

    `files` are the patterns of the names of its files; without `weights`, those are left out.
    Without a network, the hub's cache is used. Raises ModelError.
    """
    from huggingface_hub import errors, snapshot_download

    # A broken connection is not an OSError, and its exception class differs between hub releases.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        # This resolves a branch to a commit, downloads the commit, and without a network uses its
        # cache. The directory that it returns is named after the commit.
        ignored = None if weights else [WEIGHTS]
        path = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(files), ignore_patterns=ignored
            )
        )
    except (OSError, ValueError, RuntimeError, http_error) as error:
        raise ModelError(
            _not_fetched(name, revision, f"{type(error).__name__}: {error}")
        ) from error
    if weights and not any(path.glob(WEIGHTS)):
        raise ModelError(_not_fetched(name, revision, f"{path} contains no file {WEIGHTS}"))
    return path


def _not_fetched(name: str, revision: str | None, reason: str) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"Model {name!r}{at} is not a built-in model ({', '.join(BUILT_IN)}) or a local directory, "
        f"and cannot be downloaded from the Hugging Face hub: {' '.join(reason.split())}\n"
        "Check the name. If the model is gated, set HF_TOKEN. Without a network, run "
        f"`phifleet model {name}` on a machine with one, copy its cache (HF_HOME) to this machine "
        "and set HF_HUB_OFFLINE=1, or set model.name to a local directory."
    )


def _read_config(name: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Model {name!r}: {path} cannot be read ({error}). Use a directory with a model in the "
            "format of Hugging Face: config.json, *.safetensors and tokenizer files."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"Model {name!r}: {path} is not a JSON object. Restore the original file.")
    # multimodal models have the language model's config in a nested object
    return {**config, **(config.get("text_config") or {})}


def _short_rope_len(config: dict[str, Any]) -> int | None:
    # transformers 5 writes `rope_parameters` with `rope_type`; Phi-3's files have `rope_scaling`
    # with `type`, which was "su" in early versions
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (rope.get("rope_type") or rope.get("type")) not in ("longrope", "su"):
        return None
    short = config.get("original_max_position_embeddings") or rope.get(
        "original_max_position_embeddings"
    )
    return int(short) if short else None


def _sliding_window(config: dict[str, Any]) -> int | None:
    window = config.get("sliding_window")
    return int(window) if window and config.get("use_sliding_window", True) else None
