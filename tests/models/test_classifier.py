"""Classification models: scores as of transformers' own pipeline, windows, revisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classifiers import LABELS, WORDS, write_classifier

from pipelines.errors import ModelError
from pipelines.models.classifier import (
    TextClassifier,
    files_revision,
    find_classifier,
    load_classifier,
)

TEXTS = ["vile words", "the report of a harbour", "kind", ""]


@pytest.fixture(scope="module", params=[False, True], ids=["one label", "several labels"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    return write_classifier(path, multiple=bool(request.param))


@pytest.fixture
def classifier(directory: Path) -> TextClassifier:
    return load_classifier(str(directory), files_revision(directory))


@pytest.fixture
def reference(directory: Path) -> Callable[[str], dict[str, float]]:
    """The scores of one text by transformers' pipeline."""
    from transformers import pipeline

    pipe: Any = pipeline("text-classification", model=str(directory), top_k=None)

    def scores(text: str) -> dict[str, float]:
        (rows,) = pipe([text])
        return {row["label"]: row["score"] for row in rows}

    return scores


def test_scores_are_those_of_transformers_alone_and_in_a_batch(
    classifier: TextClassifier, reference: Callable[[str], dict[str, float]]
) -> None:
    for text, scores in zip(TEXTS, classifier.scores(TEXTS), strict=True):
        assert tuple(scores) == LABELS
        assert scores == pytest.approx(reference(text), abs=1e-5)
        assert classifier.scores([text])[0] == pytest.approx(scores, abs=1e-5)


def test_a_long_text_has_the_highest_score_of_its_windows(
    classifier: TextClassifier, reference: Callable[[str], dict[str, float]]
) -> None:
    words = [WORDS[number * number % len(WORDS)] for number in range(70)]
    # 30 tokens, of which two are [CLS] and [SEP]; a quarter is repeated
    windows = [" ".join(words[start : start + 28]) for start in (0, 21, 42)]
    rows = [reference(window) for window in windows]
    expected = {label: max(row[label] for row in rows) for label in LABELS}
    assert classifier.scores([" ".join(words)])[0] == pytest.approx(expected, abs=1e-5)


def test_no_texts_have_no_scores(classifier: TextClassifier) -> None:
    assert classifier.scores([]) == []


def test_the_revision_of_a_directory_is_of_all_its_bytes(tmp_path: Path) -> None:
    first = write_classifier(tmp_path / "first")
    second = write_classifier(tmp_path / "second", seed=1)
    sizes = [(path / "model.safetensors").stat().st_size for path in (first, second)]
    assert sizes[0] == sizes[1]
    assert files_revision(first) != files_revision(second)
    assert files_revision(write_classifier(tmp_path / "third")) == files_revision(first)
    assert find_classifier(str(first), None).revision == files_revision(first)
    with pytest.raises(ModelError, match=f"have revision {files_revision(second)}, not '"):
        find_classifier(str(second), files_revision(first))


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be used"):
        find_classifier(str(tmp_path), None)


def test_weights_that_run_code_when_they_are_loaded_are_refused(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_classifier(str(tmp_path), files_revision(tmp_path))
