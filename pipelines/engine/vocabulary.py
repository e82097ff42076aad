"""The tokenizer that an engine is started with: the model's own, without its control tokens.

xgrammar knows tokens by their text. So it allows the control token `<|end|>` wherever an answer may
contain the text "<|end|>", such as inside a JSON string, although a control token is never a part
of an answer. An id without a text is never allowed. vLLM reads its tokenizer from a directory, and
such a tokenizer written there costs nothing per step, unlike a bias or a list of forbidden tokens.

The engine receives prompts as ids and ends answers at the ids of the model's generation config, so
it needs control tokens for neither. Knows no engine.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.text.tokens import ChatTokenizer


@contextmanager
def vocabulary(tokenizer: ChatTokenizer, model: Path) -> Iterator[Path | None]:
    """Provide the directory of a tokenizer without control tokens while an engine starts.

    `model` is the directory of the model, whose tokenizer is `tokenizer`. None if there can be no
    such tokenizer (see `write_vocabulary`).
    """
    with tempfile.TemporaryDirectory(prefix="phifleet-vocabulary-") as directory:
        path = Path(directory)
        yield path if write_vocabulary(tokenizer, model / "config.json", path) else None


def write_vocabulary(tokenizer: ChatTokenizer, config: Path, directory: Path) -> bool:
    """Write a tokenizer without control tokens into `directory`, as vLLM reads it.

    All other ids keep their tokens. The token at which a text ends (eos) stays: grammars allow it
    at the end of an answer only. `config` is the config.json of the model, which vLLM reads beside
    a tokenizer. Returns False, and writes nothing, if the tokenizer has a vocabulary without ids
    (Unigram), from which no token can be removed.
    """
    description = json.loads(tokenizer.tokenizer_json)
    model = description["model"]
    if not isinstance(model["vocab"], dict):
        return False
    end = tokenizer.end_id
    removed = tokenizer.control_ids - {end}
    vocabulary = {piece: token for piece, token in model["vocab"].items() if token not in removed}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if end is not None:
        settings["eos_token"] = tokenizer.control_tokens[end]
        vocabulary[settings["eos_token"]] = end
    model["vocab"] = vocabulary
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if _is_kept(merge, vocabulary)]
    (directory / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copyfile(config, directory / "config.json")
    return True


def _is_kept(merge: tuple[str, str], vocabulary: dict[str, int]) -> bool:
    """Return whether the parts of a merge and its result are tokens."""
    first, second = merge
    return first in vocabulary and second in vocabulary and first + second in vocabulary
