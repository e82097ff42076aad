"""Text classification models of the format of Hugging Face: finds them, and runs them on the CPU.

Only fast tokenizers and weights in safetensors are loaded, and no code from a model's directory is
run. Knows no checks and no jobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import ModelError
from pipelines.models.resolve import FETCHED_FILES, fetch, on_hub

# Vocabularies of older tokenizers.
_FILES = [*FETCHED_FILES, "*.txt"]
# Longer texts are divided into windows, which repeat so many tokens.
_MAX_TOKENS, _REPEATED_TOKENS = 512, 64
_BATCHED_WINDOWS = 16
_READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ClassifierFiles:
    """One revision of a classification model on this machine: its directory and its labels."""

    name: str
    revision: str
    path: Path
    labels: tuple[str, ...]


def find_classifier(name: str, revision: str | None, *, weights: bool = True) -> ClassifierFiles:
    """Find or download a classification model, and read its labels.

    `name` is a local directory, whose revision is a digest of its files (`files_revision`), or a
    model of the Hugging Face hub. Without `weights`, those are not downloaded. Raises ModelError if
    there is no such model, or if a directory has another revision than `revision`.
    """
    if on_hub(name):
        path = fetch(name, revision, weights=weights, files=_FILES)
        return ClassifierFiles(name, path.name, path, _labels(name, path))
    path = Path(name).expanduser().resolve()
    found = files_revision(path)
    if revision not in (None, found):
        raise ModelError(
            f"Classification model {name!r}: the files in {path} have revision {found}, not "
            f"{revision!r}. Restore them, on every node, or change the revision in the job file"
        )
    return ClassifierFiles(name, found, path, _labels(name, path))


def files_revision(path: Path) -> str:
    """Return a revision for a directory: 16 hex digits of the SHA-256 of the names and contents of
    its files. Hidden files do not count."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if any(part.startswith(".") for part in relative.parts) or not file.is_file():
            continue
        digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as handle:
            while data := handle.read(_READ_BYTES):
                digest.update(data)
    return digest.hexdigest()[:16]


def load_classifier(name: str, revision: str) -> TextClassifier:
    """Load a model at a revision of `find_classifier`, downloading it if needed.

    Takes seconds. Raises ModelError.
    """
    return TextClassifier(find_classifier(name, revision))


class TextClassifier:
    """A classification model on the CPU. Call it from one thread at a time."""

    def __init__(self, files: ClassifierFiles) -> None:
        """Load the model's tokenizer and weights. Raises ModelError."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(files.path)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                files.path, use_safetensors=True, dtype="float32"
            ).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise _unusable(files.name, error) from error
        if not self._tokenizer.is_fast:
            raise _unusable(files.name, ValueError("its tokenizer has no fast version"))
        self._labels = files.labels
        config = self._model.config
        # two positions of some architectures hold no token
        positions = getattr(config, "max_position_embeddings", _MAX_TOKENS + 2) - 2
        self._max_tokens = min(_MAX_TOKENS, self._tokenizer.model_max_length, positions)
        self._independent = (
            config.problem_type == "multi_label_classification" or len(files.labels) == 1
        )

    def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return for each text the probability of every label, from 0 to 1.

        A text longer than the model reads is divided into windows, and the highest probability of
        each label counts.
        """
        best = [[0.0] * len(self._labels) for _ in texts]
        windows = list(self._windows(texts)) if texts else []
        size = 1 if self._tokenizer.pad_token_id is None else _BATCHED_WINDOWS
        # windows of about the same length need little padding
        windows.sort(key=lambda window: len(window[1]))
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            rows = self._forward([ids for _, ids in batch])
            for (text, _), row in zip(batch, rows, strict=True):
                best[text] = list(map(max, best[text], row))
        return [dict(zip(self._labels, row, strict=True)) for row in best]

    def _windows(self, texts: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
        """Yield the windows of all texts, each with the number of its text."""
        encoded = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_tokens,
            stride=min(_REPEATED_TOKENS, self._max_tokens // 4),
            return_overflowing_tokens=True,
        )
        yield from zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True)

    def _forward(self, windows: Sequence[Sequence[int]]) -> list[list[float]]:
        import torch

        rows = [torch.tensor(ids) for ids in windows]
        padding = self._tokenizer.pad_token_id or 0
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits
        scores = logits.sigmoid() if self._independent else logits.softmax(-1)
        result: list[list[float]] = scores.tolist()
        return result


def _labels(name: str, path: Path) -> tuple[str, ...]:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(name, error) from error
    return tuple(config.id2label[index] for index in range(len(config.id2label)))


def _unusable(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"Classification model {name!r} cannot be used ({type(error).__name__}: "
        f"{' '.join(str(error).split())}). Use a model for text classification with config.json, "
        "weights in safetensors and tokenizer.json"
    )
