"""Checks that a model is on this machine or can be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.doctor.checks import Check, failed, guarded, ok, warning
from pipelines.models.resolve import (
    FETCHED_FILES,
    TRAINED,
    WEIGHTS,
    Model,
    on_hub,
    read_model,
    resolve,
)

_HUB_SECONDS = 10.0
_REMEDY = "correct model.name and model.revision"


def check_model(name: str = TRAINED, revision: str | None = None) -> Check:
    """Check the model `name` at `revision`, as in a job file. Downloads nothing."""
    check = _check_on_hub if on_hub(name) else _check_local
    return guarded("model", lambda: check(name, revision), _REMEDY)


def _check_local(name: str, revision: str | None) -> Check:
    model = resolve(name, revision, weights=False)
    return _with_weights(model, "built in" if model.path.parts[-1] == "trained" else "")


def _with_weights(model: Model, where: str) -> Check:
    if not any(model.path.glob(WEIGHTS)):
        return failed(
            "model",
            f"{model.name}: {model.path} contains no file {WEIGHTS}",
            "copy the model's weights to this directory, or set model.name to another model",
        )
    parameters = f"{model.parameters / 1e6:,.0f} million weights"
    place = where or f"in {model.path}"
    return ok("model", f"{model.name}, {place}, revision {model.revision}, {parameters}")


def _check_on_hub(name: str, revision: str | None) -> Check:
    cached = _cached(name, revision)
    if cached is not None and any(cached.glob(WEIGHTS)):
        model = read_model(name, cached.name, cached)
        return _with_weights(model, "in this machine's cache")
    try:
        info = _described(name, revision)
    # the client's errors have no common class: offline, no such name, gated, refused
    except Exception as error:
        return failed(
            "model",
            f"{name} is not in this machine's cache, and the Hugging Face hub does not offer it: "
            f"{' '.join(str(error).split())[:300]}",
            "check the name, the network and HF_TOKEN; without a network, copy a cache (HF_HOME) "
            f"that `phifleet model {name}` has filled",
        )
    size = sum(
        file.size or 0 for file in info.siblings or () if file.rfilename.endswith(WEIGHTS[1:])
    )
    return warning(
        "model",
        f"{name} is on the Hugging Face hub, revision {info.sha}, and not in this machine's cache: "
        f"each node downloads {f'{size / 1e9:.1f} GB' if size else 'it'} before its first engine "
        "starts",
        f"run: phifleet model {name}",
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """Return the directory of a model in the hub's cache, or None if the cache lacks it."""
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=FETCHED_FILES, local_files_only=True
            )
        )
    except (errors.LocalEntryNotFoundError, OSError, ValueError):
        return None


def _described(name: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    return HfApi().model_info(
        name, revision=revision or "main", timeout=_HUB_SECONDS, files_metadata=True
    )
