"""Finds a model by name and says what it is: where it lies, its revision, its shape and lengths.

A name is the built-in model's, a local directory, or a Hugging Face hub name. This does not load
weights, does not know vLLM, and does not know how much memory a GPU has.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import ModelError
from pipelines.models import noise

TRAINED, RANDOM = BUILT_IN = ("tiny", "tiny-random")
TRAINED_PATH = Path(__file__).with_name("trained")
BF16_BYTES = 2
WEIGHTS = "*.safetensors"
FETCHED_FILES = [WEIGHTS, "*.json", "tokenizer.model", "*.jinja"]


@dataclass(frozen=True, slots=True)
class EffectiveLengths:
    """Tokens up to which a model reads well: of a document in one pass, of one chunk of many, and
    of the answers that it combines in one prompt, where that is less than in one pass."""

    single_pass_tokens: int
    chunk_tokens: int
    notes_tokens: int | None = None


# Phi-3-mini-128k: RULER falls from 91 at 16k to 88 at 32k and 66 at 128k; a chunk leaves the 4,096
# tokens of the short rope factors room for question, carried context and answer.
KNOWN_LENGTHS = {
    "phi-3-mini-128k": EffectiveLengths(16_384, 3_072),
    "phi-3.5-mini": EffectiveLengths(16_384, 3_072),
    "phi-3-mini-4k": EffectiveLengths(3_072, 3_072),
}
UNKNOWN_LENGTHS = EffectiveLengths(16_384, 3_072)
# What the lessons of `tiny` reach.
TRAINED_LENGTHS = EffectiveLengths(1_400, 1_000, 400)


@dataclass(frozen=True, slots=True)
class Model:
    """One revision of one model on this machine, and its shape as its config.json says.

    `short_rope_len` is the number of tokens up to which a LongRoPE model uses its short factors;
    None where it has one set, and so one pool. `noise`: its weights are random, its answers mean
    nothing.
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
        """Weights of the Phi-3 shape: exact for Phi-3, an estimate for other structures.

        Per layer: query, key and value; output; gate, up and down; two norms.
        """
        attention = self.hidden_size * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab_size * self.hidden_size
        return self.layers * layer + embeddings + self.hidden_size

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of key and value that one token keeps in all layers, in bf16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BF16_BYTES


def resolve(name: str, revision: str | None = None, *, weights: bool = True) -> Model:
    """Find, build or fetch the model `name`, and read its shape. Raises ModelError.

    Without `weights`, of a model on the hub only what the tokenizer and the shape need is fetched.

    `tiny` is part of phifleet; `tiny-random` is built once into the cache; a directory is used as
    it is; any other name is fetched from the hub, or taken from the hub's cache where there is no
    network.
    """
    if name == TRAINED:
        return _trained(revision)
    if name == RANDOM:
        return _random(revision)
    if not on_hub(name):
        path = Path(name).expanduser()
        return read_model(name, revision or content_revision(path), path.resolve())
    path = _fetch(name, revision, weights=weights)
    return read_model(name, path.name, path)


def on_hub(name: str) -> bool:
    """Whether a name is neither a built-in model's nor a directory here."""
    return name not in BUILT_IN and not Path(name).expanduser().is_dir()


def effective_lengths(model: Model) -> EffectiveLengths:
    """Return the lengths measured for this model, or careful ones, within what it can hold."""
    if model.name == TRAINED:
        return TRAINED_LENGTHS
    for part, lengths in KNOWN_LENGTHS.items():
        if part in model.name.lower():
            return lengths
    single_pass = min(UNKNOWN_LENGTHS.single_pass_tokens, model.max_model_len // 2)
    return EffectiveLengths(single_pass, min(UNKNOWN_LENGTHS.chunk_tokens, single_pass))


def read_model(name: str, revision: str, path: Path, *, random_weights: bool = False) -> Model:
    """Read the shape from `path`/config.json. Raises ModelError where it is missing or unusable."""
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
            "Name a decoder-only chat model."
        ) from error


def content_revision(path: Path) -> str:
    """Return 16 hex digits of sha256 over file names, sizes, and what the JSON files say.

    Weights count by their size alone: reading them would take minutes.
    """
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if any(part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        digest.update(f"{inside.as_posix()}\0{file.stat().st_size}\0".encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def build_once(target: Path, build: Callable[[Path], None]) -> None:
    """Have `build` fill `target` unless it is there, so that nobody ever sees half of it."""
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        # one level down, where the directory gets the user's usual mode and not a private one
        built = Path(scratch) / target.name
        built.mkdir()
        build(built)
        try:
            built.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def _trained(revision: str | None) -> Model:
    own = content_revision(TRAINED_PATH)
    _refuse_another(TRAINED, own, revision)
    return read_model(TRAINED, own, TRAINED_PATH)


def _random(revision: str | None) -> Model:
    own = noise.revision()
    _refuse_another(RANDOM, own, revision)
    target = _cache_directory() / "models" / f"{RANDOM}-{own}"
    try:
        build_once(target, noise.build)
    except OSError as error:
        raise ModelError(
            f"Model {RANDOM!r} cannot be built at {target}: {error}. Set PHIFLEET_CACHE to a "
            "directory that can be written."
        ) from error
    return read_model(RANDOM, own, target, random_weights=True)


def _refuse_another(name: str, own: str, revision: str | None) -> None:
    if revision not in (None, own):
        raise ModelError(
            f"Model {name!r} is here as revision {own}, not {revision!r}: another phifleet or "
            "Python has another one. Set model.revision to null."
        )


def _cache_directory() -> Path:
    if own := os.environ.get("PHIFLEET_CACHE"):
        return Path(own).expanduser().resolve()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "phifleet"
    return Path.home() / ".cache" / "phifleet"


def _fetch(name: str, revision: str | None, *, weights: bool) -> Path:
    from huggingface_hub import errors, snapshot_download

    # A broken connection is no OSError, and which library raises it changed between hub releases.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        # It resolves a branch to a commit first, downloads that commit, and falls back to its
        # cache without a network; the directory it returns is named after the commit.
        left_out = None if weights else [WEIGHTS]
        path = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=FETCHED_FILES, ignore_patterns=left_out
            )
        )
    except (OSError, ValueError, RuntimeError, http_error) as error:
        raise ModelError(
            _not_fetched(name, revision, f"{type(error).__name__}: {error}")
        ) from error
    if weights and not any(path.glob(WEIGHTS)):
        raise ModelError(_not_fetched(name, revision, f"{path} holds no safetensors"))
    return path


def _not_fetched(name: str, revision: str | None, reason: str) -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"Model {name!r}{at} is no built-in model ({', '.join(BUILT_IN)}), no local directory, and "
        f"the Hugging Face hub did not give it: {' '.join(reason.split())}\n"
        "Check the name; set HF_TOKEN if it is gated; where there is no network, run "
        f"`phifleet model {name}` on a machine that has one and bring its cache (HF_HOME) here "
        "with HF_HUB_OFFLINE=1, or name a local directory."
    )


def _read_config(name: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Model {name!r}: {path} cannot be read ({error}). Name a directory that holds a model "
            "as Hugging Face stores it: config.json, safetensors, tokenizer files."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"Model {name!r}: {path} is not a JSON object.")
    # models with several modalities keep their language part one level down
    return {**config, **(config.get("text_config") or {})}


def _short_rope_len(config: dict[str, Any]) -> int | None:
    # transformers 5 writes `rope_parameters` with `rope_type`, Phi-3's own file `rope_scaling` with
    # `type`, once called "su"
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
