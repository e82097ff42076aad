"""The training loop of `tiny`, with checkpoints.

The lessons of a step depend only on the seed and the number of the step. A training that was
interrupted therefore resumes from its last checkpoint with the lessons that it would have seen.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from pipelines.models import phi3
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny.batches import IGNORED, Batch, make_batch, make_lessons
from pipelines.tiny.digest import prompts_digest
from pipelines.tiny.examples import Lesson
from pipelines.tiny.lessons import Teacher
from pipelines.tiny.muon import Muon
from pipelines.tiny.network import embedding_modules, new_model
from pipelines.tiny.stages import Stage, learning_rate

if TYPE_CHECKING:
    from transformers import Phi3ForCausalLM

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in the output directory of a training that has not finished."""
INNER_RATE, OUTER_RATE = 4e-3, 2e-3
"""Maximum learning rates: that of the matrices of the layers, and that of all other weights."""
TEXT_WEIGHT = 0.1
"""The weight of the loss on the texts of lessons; the loss on the answers has the weight 1."""
_CHECKPOINT_SECONDS = 300
_LOG_STEPS, _CHECK_STEPS = 50, 500
_CHECK_BATCHES = 12


class Training:
    """One training of a model with `tokenizer`, from random weights through all of `stages`.

    `directory` must contain the tokenizer's files. The checkpoint, and at the end the model, are
    written there. `seed` decides the lessons.
    """

    def __init__(
        self, tokenizer: ChatTokenizer, directory: Path, seed: int, stages: Sequence[Stage]
    ) -> None:
        self._tokenizer = tokenizer
        self._directory = directory
        self._seed = seed
        self._stages = stages
        self._prompts = prompts_digest(tokenizer)
        self._steps = sum(stage.steps for stage in stages)
        self._end_id = next(
            number for number, name in tokenizer.control_tokens.items() if name == "<|end|>"
        )
        self.model = new_model(directory)
        self._optimizers = _optimizers(self.model)
        ends = itertools.accumulate(stage.steps for stage in stages)
        self._averaged_steps = {
            end for end, stage in zip(ends, stages, strict=True) if stage.averaged
        }
        self._averaged_weights: list[dict[str, torch.Tensor]] = []
        self._step = 0
        self._seconds = 0.0

    def run(self, until: int | None = None) -> None:
        """Resume from the checkpoint in the directory, if there is one, and train on.

        Stops after `until` steps in all (None: after the last step) and writes a checkpoint. After
        the last step, writes the model instead and deletes the checkpoint. Raises ValueError if the
        checkpoint belongs to a training with another seed, other stages or other prompts.
        """
        self._load()
        saved_at = started_at = time.monotonic()
        seconds_before = self._seconds
        losses: list[float] = []
        while self._step < (self._steps if until is None else until):
            losses.append(self._learn())
            self._step += 1
            if self._step in self._averaged_steps:
                self._keep_weights()
            now = time.monotonic()
            self._seconds = seconds_before + now - started_at
            if self._step % _LOG_STEPS == 0:
                self._log(losses)
                losses.clear()
            if self._step % _CHECK_STEPS == 0:
                print(_format_counts(self.check(self._stage(), _CHECK_BATCHES)), flush=True)
            if now - saved_at > _CHECKPOINT_SECONDS:
                self._save()
                saved_at = time.monotonic()
        self._save()
        if self._step == self._steps:
            self._finish()

    def _keep_weights(self) -> None:
        weights = self.model.named_parameters()
        self._averaged_weights.append({name: weight.detach().clone() for name, weight in weights})

    def _finish(self) -> None:
        """Write the model and training.json, and delete the checkpoint."""
        if self._averaged_weights:
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    kept = [weights[name] for weights in self._averaged_weights]
                    weight.copy_(torch.stack(kept).mean(0))
        for embeddings in embedding_modules(self.model):
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

    def check(self, stage: Stage, batches: int) -> dict[str, tuple[int, int]]:
        """Evaluate the model on lessons like those of `stage` that are never trained on.

        `batches` is the number of batches of such lessons. Returns, by kind of question, the number
        of fully correct answers and that of all answers.

        An answer counts as correct if each of its tokens is the most probable one, which is exactly
        when greedy decoding generates it.
        """
        counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.model.train(mode=False)
        for number in range(batches):
            lessons, batch = self._batch(stage, f"check {number}")
            with torch.no_grad(), _mixed_precision():
                hidden = self.hidden(batch)
            for number, lesson in enumerate(lessons):
                for index, question in enumerate(lesson.questions):
                    is_answer = (batch.lesson_index == number) & (batch.targets != IGNORED)
                    is_answer &= batch.question_index == index
                    with torch.no_grad():
                        predicted = self.model.lm_head(hidden[is_answer].float()).argmax(-1)
                    correct = bool((predicted == batch.targets[is_answer]).all())
                    correct_so_far, total = counts[question.kind]
                    counts[question.kind] = (correct_so_far + correct, total + 1)
        self.model.train()
        return dict(sorted(counts.items()))

    def _learn(self) -> float:
        """Train one step. Return the mean loss on the answers, per token."""
        _, batch = self._batch(self._stage(), str(self._step))
        rate = learning_rate(self._stages, self._step)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * rate
        with _mixed_precision():
            hidden = self.hidden(batch)
            is_target = batch.targets != IGNORED
            logits = self.model.lm_head(hidden[is_target]).float()
        losses = cross_entropy(logits, batch.targets[is_target], reduction="none")
        is_answer = batch.question_index[is_target] >= 0
        weights = answer_weights(batch, self._stage().first_weight)
        answer_loss = (weights * losses[is_answer]).sum() / weights.sum()
        loss = answer_loss
        if not bool(is_answer.all()):
            loss = answer_loss + TEXT_WEIGHT * losses[~is_answer].mean()
        self.model.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        return float(answer_loss.detach())

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Return the last layer's hidden states of a batch: [lessons, tokens, hidden size]."""
        states = self.model.model(
            batch.ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.positions,
            use_cache=False,
        )
        hidden: torch.Tensor = states.last_hidden_state
        return hidden

    def _batch(self, stage: Stage, name: str) -> tuple[list[Lesson], Batch]:
        """Return the lessons for `name`, a step or a check, and their batch."""
        seed = f"{self._seed} {name}"
        teacher = Teacher(self._tokenizer, seed, stage.difficulty)
        rng = random.Random(seed)  # noqa: S311
        lessons = make_lessons(stage, teacher, rng)
        return lessons, make_batch(lessons, self._end_id, rng)

    def _stage(self) -> Stage:
        """Return the stage of the next step."""
        remaining = self._step
        for stage in self._stages:
            if remaining < stage.steps:
                return stage
            remaining -= stage.steps
        return self._stages[-1]

    def _log(self, losses: Sequence[float]) -> None:
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
        """Everything that must be equal for this training to resume from a checkpoint, as JSON."""
        stages = [asdict(stage) for stage in self._stages]
        return json.dumps({"seed": self._seed, "stages": stages, "prompts": self._prompts})

    def _save(self) -> None:
        state = {
            "identity": self._identity,
            "step": self._step,
            "seconds": self._seconds,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "averaged": self._averaged_weights,
        }
        temporary = self._checkpoint.with_suffix(".new")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)

    def _load(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint)
        if state["identity"] != self._identity:
            raise ValueError(
                f"{self._checkpoint}: the checkpoint is from a training with another seed, other "
                f"stages or other prompts: {state['identity']}. Remove it, or set --output to "
                "another directory"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._averaged_weights = state["averaged"]
        self._step, self._seconds = state["step"], state["seconds"]


def _optimizers(model: Phi3ForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers, and AdamW for embeddings and norms."""
    inner: list[torch.nn.Parameter] = []
    outer: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (inner if "layers" in name and weight.ndim == 2 else outer).append(weight)
    muon = Muon(inner, lr=INNER_RATE, decay=0.05)
    adam = torch.optim.AdamW(outer, lr=OUTER_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return muon, adam


def answer_weights(batch: Batch, first_weight: float) -> torch.Tensor:
    """Return the weights of the answers' tokens in the loss: `first_weight` for the first token of
    each answer, 1 for the others. Shape: [targets that are answers], row by row."""
    is_answer = (batch.targets != IGNORED) & (batch.question_index >= 0)
    answers = torch.stack([batch.lesson_index[is_answer], batch.question_index[is_answer]])
    is_first = torch.ones(answers.shape[1], dtype=torch.bool)
    is_first[1:] = (answers[:, 1:] != answers[:, :-1]).any(0)
    return torch.where(is_first, first_weight, 1.0)


def _mixed_precision() -> Any:
    """Return a context that computes in bfloat16, if the CPU is faster with it than in float32."""
    is_faster = torch.backends.cpu.get_cpu_capability() != "AVX2"
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_faster)


def _format_counts(counts: Mapping[str, tuple[int, int]]) -> str:
    return "  ".join(
        f"{kind} {correct / total:.1%} of {total}" for kind, (correct, total) in counts.items()
    )
