"""Training: questions do not attend to each other, and an interrupted training resumes."""

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
from pipelines.tiny.batches import make_batch
from pipelines.tiny.examples import Lesson, TrainingQuestion
from pipelines.tiny.muon import Muon
from pipelines.tiny.stages import Stage
from pipelines.tiny.training import CHECKPOINT, Training

STAGES = (Stage(2, 40, {"bare": 1.0}), Stage(2, 60, {"whole": 0.4, "part": 0.3, "combining": 0.3}))
END_ID = 9


@pytest.fixture
def directory(paired_path: Path, tmp_path: Path) -> Path:
    """A directory for trainings, which contains the tokenizer."""
    (tmp_path / "tokenizer.json").write_bytes((paired_path / "tokenizer.json").read_bytes())
    return tmp_path


def test_a_question_has_the_same_hidden_states_with_and_without_other_questions(
    directory: Path, paired_tokenizer: ChatTokenizer
) -> None:
    torch.manual_seed(0)
    training = Training(paired_tokenizer, directory, 0, STAGES)
    first = TrainingQuestion("a", (20, 21, 22), (23, 24))
    second = TrainingQuestion("b", (30, 31), (32,))
    rng = Random(0)  # noqa: S311
    lessons = [Lesson((5, 6, 7), (first, second)), Lesson((5,), (first,))]
    both = make_batch(lessons, END_ID, rng)
    single = make_batch([Lesson((5, 6, 7), (second,))], END_ID, rng)
    with torch.no_grad():
        states_of_both = training.hidden(both)[0, both.question_index[0] == 1]
        states_of_single = training.hidden(single)[0, single.question_index[0] == 0]
    torch.testing.assert_close(states_of_both, states_of_single)
    assert single.targets[0, single.question_index[0] == 0].tolist() == [-100, 32, END_ID]


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_muon_updates_weights_like_torch_s_muon(shape: tuple[int, int]) -> None:
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
    difference, update = ours.detach() - theirs.detach(), ours.detach() - before
    assert float(difference.norm()) < 0.02 * float(update.norm())


def _train(
    tokenizer: ChatTokenizer,
    output: Path,
    seed: int,
    steps: int,
    stages: Sequence[Stage] = STAGES,
) -> torch.Tensor:
    """Train up to a step in `output`, a subdirectory of `directory`. Return all weights."""
    output.mkdir(exist_ok=True)
    tokenizer_file = output.parent / "tokenizer.json"
    (output / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    torch.manual_seed(3)
    training = Training(tokenizer, output, seed, stages)
    training.run(steps)
    model = training.model.model
    weights = [model.embed_tokens.weight, training.model.lm_head.weight, *model.layers.parameters()]
    return torch.cat([weight.detach().flatten() for weight in weights])


def test_an_interrupted_training_gives_the_same_weights(
    directory: Path, paired_tokenizer: ChatTokenizer
) -> None:
    once = _train(paired_tokenizer, directory / "once", 3, 4)
    _train(paired_tokenizer, directory / "twice", 3, 2)
    assert not (directory / "twice" / "model.safetensors").exists()
    twice = _train(paired_tokenizer, directory / "twice", 3, 4)
    # the last bits depend on the memory alignment of a matrix; one step changes a weight by 1e-5
    assert float((once - twice).abs().mean()) < 1e-7
    written = load_file(directory / "twice" / "model.safetensors")
    assert all(weight.dtype == torch.bfloat16 for weight in written.values())
    assert not (directory / "twice" / CHECKPOINT).exists()


def test_the_model_is_the_mean_of_the_weights_after_the_averaged_stages(
    directory: Path, paired_tokenizer: ChatTokenizer
) -> None:
    first = _train(paired_tokenizer, directory / "first", 3, 2)
    last = _train(paired_tokenizer, directory / "last", 3, 4)
    averaged = [replace(stage, averaged=True) for stage in STAGES]
    _train(paired_tokenizer, directory / "mean", 3, 3, averaged)
    mean = _train(paired_tokenizer, directory / "mean", 3, 4, averaged)
    assert float((mean - (first + last) / 2).abs().mean()) < 1e-7
    assert float((mean - last).abs().mean()) > 1e-6


def test_embeddings_of_words_with_and_without_a_blank_differ_by_one_vector(
    directory: Path, paired_tokenizer: ChatTokenizer
) -> None:
    training = Training(paired_tokenizer, directory, 0, STAGES)
    training.run()
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    pairs = torch.tensor(list(paired_words(ids)))
    assert len(pairs) > 1000
    for rows in (training.model.model.embed_tokens.weight, training.model.lm_head.weight):
        differences = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).detach()
        torch.testing.assert_close(differences, differences[:1].expand_as(differences))
        assert float(differences[0].abs().max()) > 0


def test_a_training_does_not_resume_from_the_checkpoint_of_another_one(
    directory: Path, paired_tokenizer: ChatTokenizer
) -> None:
    _train(paired_tokenizer, directory / "one", 3, 2)
    with pytest.raises(ValueError, match="another seed, other stages or other prompts"):
        _train(paired_tokenizer, directory / "one", 4, 4)
