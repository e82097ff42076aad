"""Trains `tiny` from nothing: `python -m pipelines.tiny.train --output DIRECTORY`.

A Phi-3 of three million weights learns to read by the lessons of `lessons`: first to copy, then to
find what a bare question asks for, then by phifleet's own prompts about ever longer texts. Seeded,
and goes on where it stopped: the lessons of a step depend on the seed and the step alone.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from pipelines.models import phi3
from pipelines.text.tokens import ChatTokenizer, load_tokenizer
from pipelines.tiny import rules
from pipelines.tiny.batches import (
    ASKING,
    BARE,
    COMBINING,
    COPYING,
    FILLING,
    IGNORED,
    LABELLING,
    PART,
    QUOTING,
    WHOLE,
    Batch,
    Stage,
    batch_of,
    lessons_of,
)
from pipelines.tiny.digest import prompts_digest
from pipelines.tiny.lessons import Lesson, Teacher
from pipelines.tiny.muon import Muon
from pipelines.tiny.network import embeddings_of, new_model

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

SEED = 1
CHECKPOINT = "checkpoint.pt"
# Of the matrices of the layers, and of all else.
INNER_RATE, OUTER_RATE = 4e-3, 2e-3
WARM_UP_STEPS = 150
# What the text that a lesson shows counts for beside the answers.
TEXT_WEIGHT = 0.1
_LAST_LEARNING_RATE = 0.02
_SAVED_EVERY_SECONDS = 300
_CHECKED_EVERY_STEPS = 500
# Words that decide a label are a token each.
WORDS = (*rules.THEMES, *(word for words in rules.THEMES.values() for word in words), rules.OTHER)
# The last courses: keys that are stated again and again, and lists of summaries. Weights that were
# learned in several courses one after another answer far better in the mean than the last alone.
_LAST = Stage(
    1100,
    1600,
    {LABELLING: 0.04, WHOLE: 0.37, PART: 0.29, COMBINING: 0.3},
    shortest=0.05,
    alike=0.22,
    peak=0.5,
    kept=True,
)
# Each stage teaches what the next one needs; left out, the next one learns nothing for long.
STAGES = (
    Stage(300, 64, {COPYING: 1.0}),
    Stage(300, 96, {COPYING: 0.1, BARE: 0.9}),
    Stage(600, 96, {BARE: 0.08, QUOTING: 0.2, ASKING: 0.32, FILLING: 0.2, LABELLING: 0.2}),
    Stage(
        600,
        160,
        {ASKING: 0.13, FILLING: 0.2, LABELLING: 0.17, WHOLE: 0.2, PART: 0.15, COMBINING: 0.15},
    ),
    Stage(
        600,
        400,
        {ASKING: 0.05, FILLING: 0.15, LABELLING: 0.15, WHOLE: 0.3, PART: 0.2, COMBINING: 0.15},
    ),
    Stage(500, 800, {FILLING: 0.1, LABELLING: 0.1, WHOLE: 0.35, PART: 0.3, COMBINING: 0.15}),
    Stage(400, 1600, {FILLING: 0.1, LABELLING: 0.08, WHOLE: 0.35, PART: 0.35, COMBINING: 0.12}),
    # What it has learned it now does without mistakes, at all lengths.
    Stage(
        2400,
        1600,
        {LABELLING: 0.06, WHOLE: 0.36, PART: 0.3, COMBINING: 0.28},
        shortest=0.05,
        alike=0.2,
        peak=0.5,
    ),
    _LAST,
    replace(_LAST, peak=0.45),
    replace(_LAST, peak=0.4),
)


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    phi3.write_tokenizer(_tokenizer(options.output), options.output)
    tokens = load_tokenizer(options.output)
    training = Training(tokens, options.output, options.seed, options.stages)
    training.run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="where the model is written")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    parser.add_argument(
        "--stages", type=int, nargs="+", metavar="STEPS", help="other numbers of steps, for trials"
    )
    options = parser.parse_args()
    steps = options.stages or [stage.steps for stage in STAGES]
    options.stages = [
        replace(stage, steps=count) for count, stage in zip(steps, STAGES, strict=True)
    ]
    return options


def _tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer

    made = directory / "tokenizer.json"
    if (directory / CHECKPOINT).exists():
        return Tokenizer.from_file(str(made))
    return phi3.make_tokenizer(phi3.PAIRED_VOCABULARY, paired=True, words=WORDS)


def learning_rate(stages: Sequence[Stage], step: int) -> float:
    """A share of the highest: in each course of learning it rises, then falls as a cosine does."""
    began, peak, at = 0, 1.0, 0
    for stage in stages:
        if stage.peak is not None and at > 0:
            if step < at:
                break
            began, peak = at, stage.peak
        at += stage.steps
    warm = min(1.0, (step - began + 1) / WARM_UP_STEPS)
    fallen = 0.5 * (1 + math.cos(math.pi * (step - began) / (at - began)))
    return peak * warm * max(_LAST_LEARNING_RATE, fallen)


class Training:
    """One training from its first step, or from where it was saved, to its end."""

    def __init__(
        self, tokens: ChatTokenizer, directory: Path, seed: int, stages: Sequence[Stage]
    ) -> None:
        self._tokens = tokens
        self._directory = directory
        self._seed = seed
        self._stages = stages
        self._prompts = prompts_digest(tokens)
        self._steps = sum(stage.steps for stage in stages)
        self._end = next(
            number for number, name in tokens.control_tokens.items() if name == "<|end|>"
        )
        self.model = new_model(directory)
        self._optimizers = _optimizers(self.model)
        ends = itertools.accumulate(stage.steps for stage in stages)
        self._kept_after = {end for end, stage in zip(ends, stages, strict=True) if stage.kept}
        self._kept: list[dict[str, torch.Tensor]] = []
        self._step = 0
        self._seconds = 0.0

    def run(self, until: int | None = None) -> None:
        """Go on up to a step, by default to the end, and write the model there."""
        self._load()
        saved = began = time.monotonic()
        spent = self._seconds
        losses: list[float] = []
        while self._step < (self._steps if until is None else until):
            losses.append(self._learn())
            self._step += 1
            if self._step in self._kept_after:
                self._keep()
            now = time.monotonic()
            self._seconds = spent + now - began
            if self._step % 50 == 0:
                self._say(losses)
                losses.clear()
            if self._step % _CHECKED_EVERY_STEPS == 0:
                print(_table(self.check(self._stage(), 12)), flush=True)
            if now - saved > _SAVED_EVERY_SECONDS:
                self._save()
                saved = time.monotonic()
        self._save()
        if self._step == self._steps:
            self._finish()

    def _keep(self) -> None:
        weights = self.model.named_parameters()
        self._kept.append({name: each.detach().clone() for name, each in weights})

    def _finish(self) -> None:
        if self._kept:
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    weight.copy_(torch.stack([each[name] for each in self._kept]).mean(0))
        for embeddings in embeddings_of(self.model):
            parametrize.remove_parametrizations(embeddings, "weight")
        phi3.write_weights(self.model.state_dict(), self._directory)
        weights = (self._directory / "model.safetensors").read_bytes()
        record = {
            "seed": self._seed,
            "steps": self._steps,
            "seconds": round(self._seconds),
            "prompts": self._prompts,
            "weights": hashlib.sha256(weights).hexdigest(),
        }
        (self._directory / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        self._checkpoint.unlink()

    def check(self, stage: Stage, steps: int) -> dict[str, tuple[int, int]]:
        """Of answers to lessons that are never learned: by kind, how many are wholly right of how
        many. Greedy decoding gives an answer exactly where each of its tokens is the likeliest."""
        counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.model.train(mode=False)
        for number in range(steps):
            lessons, batch = self._lessons(stage, f"check {number}")
            with torch.no_grad(), _mixed_precision():
                hidden = self.hidden(batch)
            for row, lesson in enumerate(lessons):
                for place, asked in enumerate(lesson.asked):
                    own = (batch.owner[row] == place) & (batch.targets[row] != IGNORED)
                    with torch.no_grad():
                        likeliest = self.model.lm_head(hidden[row, own].float()).argmax(-1)
                    right = bool((likeliest == batch.targets[row, own]).all())
                    done, question_for = counts[asked.kind]
                    counts[asked.kind] = (done + right, question_for + 1)
        self.model.train()
        return dict(sorted(counts.items()))

    def _learn(self) -> float:
        """One step. Returns the loss on answers."""
        _, batch = self._lessons(self._stage(), str(self._step))
        rate = learning_rate(self._stages, self._step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * rate
        with _mixed_precision():
            hidden = self.hidden(batch)
            learned = batch.targets != IGNORED
            logits = self.model.lm_head(hidden[learned]).float()
        losses = cross_entropy(logits, batch.targets[learned], reduction="none")
        answers = batch.owner[learned] >= 0
        told = losses[answers].mean()
        loss = told
        if not bool(answers.all()):
            loss = told + TEXT_WEIGHT * losses[~answers].mean()
        self.model.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        return float(told.detach())

    def hidden(self, batch: Batch) -> torch.Tensor:
        """[lessons, tokens, hidden size]."""
        states = self.model.model(
            batch.ids, attention_mask=batch.sees, position_ids=batch.positions, use_cache=False
        )
        hidden: torch.Tensor = states.last_hidden_state
        return hidden

    def _lessons(self, stage: Stage, name: str) -> tuple[list[Lesson], Batch]:
        seed = f"{self._seed} {name}"
        teacher, pick = Teacher(self._tokens, seed, stage.alike), random.Random(seed)  # noqa: S311
        lessons = lessons_of(stage, teacher, pick)
        return lessons, batch_of(lessons, self._end, pick)

    def _stage(self) -> Stage:
        left = self._step
        for stage in self._stages:
            if left < stage.steps:
                return stage
            left -= stage.steps
        return self._stages[-1]

    def _say(self, losses: Sequence[float]) -> None:
        print(
            f"step {self._step:,} of {self._steps:,}  loss {sum(losses) / len(losses):.4f}  "
            f"{self._seconds / 60:.1f} min",
            flush=True,
        )

    @property
    def _checkpoint(self) -> Path:
        return self._directory / CHECKPOINT

    @property
    def _identity(self) -> str:
        """What a training must have in common with the one that it goes on with."""
        stages = [asdict(each) for each in self._stages]
        return json.dumps({"seed": self._seed, "stages": stages, "prompts": self._prompts})

    def _save(self) -> None:
        state = {
            "identity": self._identity,
            "step": self._step,
            "seconds": self._seconds,
            "model": self.model.state_dict(),
            "optimizers": [each.state_dict() for each in self._optimizers],
            "kept": self._kept,
        }
        new = self._checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._checkpoint)

    def _load(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint)
        if state["identity"] != self._identity:
            raise ValueError(
                f"{self._checkpoint}: is of a training with another seed, other steps or other "
                f"prompts: {state['identity']}; remove it, or train into another directory"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self._kept = state["kept"]
        self._step, self._seconds = state["step"], state["seconds"]


def _optimizers(model: Phi3ForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (inner if "layers" in name and weight.ndim == 2 else outer).append(weight)
    muon = Muon(inner, lr=INNER_RATE, decay=0.05)
    adam = torch.optim.AdamW(outer, lr=OUTER_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return muon, adam


def _mixed_precision() -> Any:
    """bfloat16 where the CPU is faster with it."""
    wide = torch.backends.cpu.get_cpu_capability() != "AVX2"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=wide)


def _table(accuracy: Mapping[str, tuple[int, int]]) -> str:
    return "  ".join(
        f"{kind} {right / asked:.1%} of {asked}" for kind, (right, asked) in accuracy.items()
    )


if __name__ == "__main__":
    main()
