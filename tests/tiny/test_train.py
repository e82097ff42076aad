"""Training: questions do not see each other, and a training that was stopped goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from pipelines.models.phi3 import paired_words
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny.batches import Stage, batch_of
from pipelines.tiny.lessons import Asked, Lesson
from pipelines.tiny.muon import Muon
from pipelines.tiny.train import CHECKPOINT, Training

STAGES = (Stage(2, 40, {"bare": 1.0}), Stage(2, 60, {"whole": 0.4, "part": 0.3, "combining": 0.3}))
END = 9


@pytest.fixture
def tokenizer(paired_path: Path, tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_bytes((paired_path / "tokenizer.json").read_bytes())
    return tmp_path


def test_a_question_is_answered_as_if_it_stood_alone(
    tokenizer: Path, paired_tokenizer: ChatTokenizer
) -> None:
    torch.manual_seed(0)
    training = Training(paired_tokenizer, tokenizer, 0, STAGES)
    first, second = Asked("a", (20, 21, 22), (23, 24)), Asked("b", (30, 31), (32,))
    pick = Random(0)  # noqa: S311
    both = batch_of([Lesson((5, 6, 7), (first, second)), Lesson((5,), (first,))], END, pick)
    alone = batch_of([Lesson((5, 6, 7), (second,))], END, pick)
    with torch.no_grad():
        together = training.hidden(both)[0, both.owner[0] == 1]
        single = training.hidden(alone)[0, alone.owner[0] == 0]
    torch.testing.assert_close(together, single)
    assert alone.targets[0, alone.owner[0] == 0].tolist() == [-100, 32, END]


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_muon_moves_as_torch_s_does(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().clone())
    optimizers: list[torch.optim.Optimizer] = [
        Muon([ours], lr=0.01, decay=0.05),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    ]
    before = ours.detach().clone()
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    # torch computes the directions in bfloat16
    apart, moved = ours.detach() - theirs.detach(), ours.detach() - before
    assert float(apart.norm()) < 0.02 * float(moved.norm())


def _train(
    tokens: ChatTokenizer,
    tokenizer: Path,
    directory: Path,
    seed: int,
    steps: int,
    stages: Sequence[Stage] = STAGES,
) -> torch.Tensor:
    """All weights after so many steps."""
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    torch.manual_seed(3)
    training = Training(tokens, directory, seed, stages)
    training.run(steps)
    model = training.model.model
    learned = [model.embed_tokens.weight, training.model.lm_head.weight, *model.layers.parameters()]
    return torch.cat([weight.detach().flatten() for weight in learned])


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    tokenizer: Path, paired_tokenizer: ChatTokenizer
) -> None:
    once = _train(paired_tokenizer, tokenizer, tokenizer / "once", 3, 4)
    _train(paired_tokenizer, tokenizer, tokenizer / "twice", 3, 2)
    assert not (tokenizer / "twice" / "model.safetensors").exists()
    twice = _train(paired_tokenizer, tokenizer, tokenizer / "twice", 3, 4)
    # the last bits depend on where in memory a matrix lies; one step moves a weight by 1e-5
    assert float((once - twice).abs().mean()) < 1e-7
    written = load_file(tokenizer / "twice" / "model.safetensors")
    assert all(weight.dtype == torch.bfloat16 for weight in written.values())
    assert not (tokenizer / "twice" / CHECKPOINT).exists()


def test_the_model_is_the_mean_of_the_weights_that_were_kept(
    tokenizer: Path, paired_tokenizer: ChatTokenizer
) -> None:
    first = _train(paired_tokenizer, tokenizer, tokenizer / "first", 3, 2)
    last = _train(paired_tokenizer, tokenizer, tokenizer / "last", 3, 4)
    keeping = [replace(stage, kept=True) for stage in STAGES]
    _train(paired_tokenizer, tokenizer, tokenizer / "mean", 3, 3, keeping)
    mean = _train(paired_tokenizer, tokenizer, tokenizer / "mean", 3, 4, keeping)
    assert float((mean - (first + last) / 2).abs().mean()) < 1e-7
    assert float((mean - last).abs().mean()) > 1e-6


def test_a_word_means_the_same_with_and_without_a_blank(
    tokenizer: Path, paired_tokenizer: ChatTokenizer
) -> None:
    training = Training(paired_tokenizer, tokenizer, 0, STAGES)
    training.run()
    ids = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab()
    pairs = torch.tensor(list(paired_words(ids)))
    assert len(pairs) > 1000
    for rows in (training.model.model.embed_tokens.weight, training.model.lm_head.weight):
        moved = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).detach()
        torch.testing.assert_close(moved, moved[:1].expand_as(moved))
        assert float(moved[0].abs().max()) > 0


def test_a_training_does_not_go_on_with_another_one(
    tokenizer: Path, paired_tokenizer: ChatTokenizer
) -> None:
    _train(paired_tokenizer, tokenizer, tokenizer / "one", 3, 2)
    with pytest.raises(ValueError, match="another seed, other steps or other prompts"):
        _train(paired_tokenizer, tokenizer, tokenizer / "one", 4, 4)
