"""Trains `tiny` from random weights: `python -m pipelines.tiny.train --output DIRECTORY`.

The schedule is in `stages`: the model first learns to copy, then to answer bare questions, then to
answer phifleet's own prompts about longer and longer texts. A training that was interrupted resumes
from its checkpoint if the command is run again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.job.task_specs import ExtractTask
from pipelines.models import phi3
from pipelines.tasks.extraction import schema_of
from pipelines.tasks.wording import ask_text, form_text
from pipelines.text.prompts import (
    CHUNK_HEADER,
    CHUNK_INSTRUCTION,
    END_OF_CHUNK,
    END_OF_DOCUMENT,
    END_OF_NOTES,
    INSTRUCTION,
    NOTES_INSTRUCTION,
)
from pipelines.text.tokens import load_tokenizer
from pipelines.tiny import rules
from pipelines.tiny.stages import STAGES
from pipelines.tiny.training import CHECKPOINT, Training

SEED = 1
"""The default seed of a training, for weights and lessons."""
# Words that decide a label, and the fixed words of prompts, are one token each.
_FIXED_TEXTS = (
    *(INSTRUCTION, END_OF_DOCUMENT, CHUNK_INSTRUCTION, CHUNK_HEADER, END_OF_CHUNK),
    *(NOTES_INSTRUCTION, END_OF_NOTES),
    *(ask_text(evidence) for evidence in ("quotes", "anchors")),
    *(
        form_text(task, schema_of(task), may_be_null=True)
        for task in (
            ExtractTask(name="e", fields={"on": "date", "count": "integer"}, evidence="quotes"),
            ExtractTask(name="e", fields={"of": ["number"], "is": "boolean"}, evidence="anchors"),
        )
    ),
)
SINGLE_TOKEN_WORDS: Sequence[str] = (
    *rules.THEMES,
    *(word for words in rules.THEMES.values() for word in words),
    rules.OTHER,
    *sorted({word for text in _FIXED_TEXTS for word in re.findall(r"[A-Za-z]+", text)}),
)
"""Words that are one entry each of the vocabulary of `tiny`."""


def main() -> None:
    """Train a model with the seed and stages of the command line, and write it to the directory
    `--output`. Resumes from the checkpoint in the directory, if there is one."""
    options = _options()
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    phi3.write_tokenizer(_tokenizer(options.output), options.output)
    tokenizer = load_tokenizer(options.output)
    Training(tokenizer, options.output, options.seed, options.stages).run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--output", type=Path, required=True, help="directory for the model and the checkpoint"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    parser.add_argument(
        "--stages",
        type=int,
        nargs="+",
        metavar="STEPS",
        help=f"number of steps of each of the {len(STAGES)} stages, as {len(STAGES)} numbers "
        "(for experiments)",
    )
    options = parser.parse_args()
    steps = options.stages or [stage.steps for stage in STAGES]
    options.stages = [
        replace(stage, steps=count) for count, stage in zip(steps, STAGES, strict=True)
    ]
    return options


def _tokenizer(directory: Path) -> Any:
    """Return the tokenizer of an interrupted training in `directory`, or a new one."""
    from tokenizers import Tokenizer

    if (directory / CHECKPOINT).exists():
        return Tokenizer.from_file(str(directory / "tokenizer.json"))
    return phi3.make_tokenizer(phi3.PAIRED_VOCABULARY, paired=True, words=SINGLE_TOKEN_WORDS)


if __name__ == "__main__":
    main()
