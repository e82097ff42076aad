"""Trains `tiny` from nothing: `python -m pipelines.tiny.train --output DIRECTORY`.

A Phi-3 of three million weights learns to read by the lessons of `lessons`: first to copy, then to
find what a bare question asks for, then by phifleet's own prompts about ever longer texts. What a
lesson shows is computed once for all questions about it: each question sees what is shown and
itself, as if it stood alone. Seeded, and goes on where it stopped: the lessons of a step depend on
the seed and the step alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from pipelines.tiny import phi3
from pipelines.tiny.digest import prompts_digest
from pipelines.tiny.lessons import Lesson, Teacher
from pipelines.tokens import Tokens, load_tokens

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

SHAPE = phi3.Shape(
    hidden_size=192,
    layers=4,
    intermediate_size=512,
    short_factors=[1.0] * (phi3.HEAD_SIZE // 2),
    long_factors=[1.0] * (phi3.HEAD_SIZE // 2),
)
SEED = 1
BATCH_TOKENS = 6144
LEARNING_RATE = 2e-3
WARM_UP_STEPS = 150
# Of the text that a lesson shows, so much is learned too, and counts for so much.
TEXT_SHARE, TEXT_WEIGHT = 0.1, 0.1
_LAST_LEARNING_RATE = 0.02
_DEVIATION = 0.02
_WHOLE, _PART, _COMBINING = "whole", "part", "combining"
_BARE, _COPYING = "bare", "copying"
_SAVED_EVERY_SECONDS = 300
_CHECKED_EVERY_STEPS = 500
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Stage:
    """So many steps with texts of up to so many tokens. `mixture` weighs the kinds of lesson."""

    steps: int
    most_tokens: int
    mixture: Mapping[str, float]


_READING = {_WHOLE: 0.5, _PART: 0.35, _COMBINING: 0.15}
STAGES = (
    Stage(600, 64, {_COPYING: 1.0}),
    Stage(900, 96, {_COPYING: 0.1, _BARE: 0.9}),
    Stage(1500, 160, {_BARE: 0.2, **_READING}),
    Stage(1500, 400, _READING),
    Stage(1000, 800, _READING),
    Stage(1000, 1600, _READING),
)


def main() -> None:
    options = _options()
    torch.manual_seed(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    phi3.write_tokenizer(_tokenizer(options.output), options.output)
    tokens = load_tokens(options.output)
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
        Stage(count, stage.most_tokens, stage.mixture)
        for count, stage in zip(steps, STAGES, strict=True)
    ]
    return options


def _tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer

    made = directory / "tokenizer.json"
    if made.exists():
        return Tokenizer.from_file(str(made))
    return phi3.make_tokenizer(phi3.PAIRED_VOCABULARY, paired=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lessons side by side, each a row of `ids`: what it shows, then its questions with answers.

    ids, positions, targets: [lessons, tokens]; targets are the next ids where an answer or a
    sampled piece of text is learned, else -100. `sees`: [lessons, 1, tokens, tokens], whether a
    token may look at another. `owner`: of each token the number of its question, -1 elsewhere.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    sees: torch.Tensor
    owner: torch.Tensor


def batch_of(lessons: Sequence[Lesson], end: int, pick: random.Random) -> Batch:
    """`end` is the token that ends every answer."""
    rows = [_row(lesson, end, pick) for lesson in lessons]
    longest = max(len(ids) for ids, *_ in rows)

    def padded(column: int, filler: int) -> torch.Tensor:
        return torch.tensor([[*row[column], *[filler] * (longest - len(row[0]))] for row in rows])

    owner = padded(3, -2)
    earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    shown = (owner == -1)[:, None, :]
    return Batch(
        ids=padded(0, 0),
        positions=padded(1, 0),
        targets=padded(2, _IGNORED),
        sees=(earlier & (same | shown))[:, None],
        owner=owner,
    )


def _row(
    lesson: Lesson, end: int, pick: random.Random
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, positions, targets and owners of one lesson."""
    shown = list(lesson.shown)
    ids, positions, owner = list(shown), list(range(len(shown))), [-1] * len(shown)
    following = [*shown[1:], _IGNORED]
    targets = [each if pick.random() < TEXT_SHARE else _IGNORED for each in following]
    for number, asked in enumerate(lesson.asked):
        answer = [*asked.answer, *([end] if asked.ends else [])]
        own = [*asked.question, *answer[:-1]]
        ids += own
        positions += range(len(shown), len(shown) + len(own))
        targets += [*[_IGNORED] * (len(asked.question) - 1), *answer]
        owner += [number] * len(own)
    return ids, positions, targets, owner


def lessons_of(stage: Stage, teacher: Teacher, pick: random.Random) -> list[Lesson]:
    """The lessons of one step: of one length, so that little of a batch is empty."""
    kind = pick.choices(list(stage.mixture), list(stage.mixture.values()))[0]
    length = int(stage.most_tokens * pick.uniform(0.25, 1.0))
    make: Mapping[str, Callable[[], Lesson]] = {
        _BARE: lambda: teacher.bare(length),
        _COPYING: lambda: teacher.copying(length),
        _WHOLE: lambda: teacher.whole(length),
        _PART: lambda: teacher.part(length),
        _COMBINING: lambda: teacher.combining(length),
    }
    made: list[Lesson] = []
    longest = 0
    while True:
        lesson = make[kind]()
        longest = max(longest, _tokens_of(lesson))
        if made and longest * (len(made) + 1) > BATCH_TOKENS:
            return made
        made.append(lesson)


def _tokens_of(lesson: Lesson) -> int:
    return len(lesson.shown) + sum(len(each.question) + len(each.answer) for each in lesson.asked)


class Training:
    """One training from its first step, or from where it was saved, to its end."""

    def __init__(self, tokens: Tokens, directory: Path, seed: int, stages: Sequence[Stage]) -> None:
        self._tokens = tokens
        self._directory = directory
        self._seed = seed
        self._stages = stages
        self._steps = sum(stage.steps for stage in stages)
        self._end = next(number for number, name in tokens.control.items() if name == "<|end|>")
        self.model = _new_model(directory)
        self._optimizer = _optimizer(self.model)
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

    def _finish(self) -> None:
        phi3.write_weights(self.model.state_dict(), self._directory)
        weights = (self._directory / "model.safetensors").read_bytes()
        record = {
            "seed": self._seed,
            "steps": self._steps,
            "seconds": round(self._seconds),
            "prompts": prompts_digest(self._tokens),
            "weights": hashlib.sha256(weights).hexdigest(),
        }
        (self._directory / "training.json").write_text(json.dumps(record, indent=2) + "\n")

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
                    own = (batch.owner[row] == place) & (batch.targets[row] != _IGNORED)
                    with torch.no_grad():
                        likeliest = self.model.lm_head(hidden[row, own].float()).argmax(-1)
                    right = bool((likeliest == batch.targets[row, own]).all())
                    done, asked_of = counts[asked.kind]
                    counts[asked.kind] = (done + right, asked_of + 1)
        self.model.train()
        return dict(sorted(counts.items()))

    def _learn(self) -> float:
        """One step. Returns the loss on answers."""
        _, batch = self._lessons(self._stage(), str(self._step))
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * self._learning_rate()
        with _mixed_precision():
            hidden = self.hidden(batch)
            learned = batch.targets != _IGNORED
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
        self._optimizer.step()
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
        teacher, pick = Teacher(self._tokens, seed), random.Random(seed)  # noqa: S311
        lessons = lessons_of(stage, teacher, pick)
        return lessons, batch_of(lessons, self._end, pick)

    def _stage(self) -> Stage:
        left = self._step
        for stage in self._stages:
            if left < stage.steps:
                return stage
            left -= stage.steps
        return self._stages[-1]

    def _learning_rate(self) -> float:
        """A share of the highest: rising, then falling as a cosine does."""
        warm = min(1.0, (self._step + 1) / WARM_UP_STEPS)
        fallen = 0.5 * (1 + math.cos(math.pi * self._step / self._steps))
        return warm * max(_LAST_LEARNING_RATE, fallen)

    def _say(self, losses: Sequence[float]) -> None:
        print(
            f"step {self._step:,} of {self._steps:,}  loss {sum(losses) / len(losses):.4f}  "
            f"{self._seconds / 60:.1f} min",
            flush=True,
        )

    @property
    def _checkpoint(self) -> Path:
        return self._directory / "checkpoint.pt"

    def _save(self) -> None:
        state = {
            "step": self._step,
            "seconds": self._seconds,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        new = self._checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._checkpoint)

    def _load(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._seconds = state["step"], state["seconds"]


def _new_model(directory: Path) -> Phi3ForCausalLM:
    from tokenizers import Tokenizer
    from transformers import Phi3ForCausalLM

    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    config = phi3.phi3_config(ids, SHAPE)
    config.save_pretrained(directory)
    config.dtype = "float32"
    config._attn_implementation = "sdpa"
    model: Phi3ForCausalLM = Phi3ForCausalLM(config)
    for name, weight in model.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, std=_DEVIATION)
    _pair(model.model.embed_tokens.weight, ids)
    _pair(model.lm_head.weight, ids)
    model.train()
    return model


@torch.no_grad()
def _pair(rows: torch.Tensor, ids: Mapping[str, int]) -> None:
    """Let a word after a blank begin as the word itself, moved as all of them are."""
    blank = rows[ids[phi3.BLANK]].clone()
    for entry, number in ids.items():
        word = entry.removeprefix(phi3.BLANK)
        if word != entry and word in ids and not word.startswith(phi3.BLANK):
            rows[number] = rows[ids[word]] + blank


def _optimizer(model: Phi3ForCausalLM) -> torch.optim.Optimizer:
    """AdamW, under which only the matrices of the layers decay."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (inner if "layers" in name and weight.ndim == 2 else outer).append(weight)
    groups = [{"params": inner, "weight_decay": 0.05}, {"params": outer, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)


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
