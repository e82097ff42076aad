"""Training: questions do not attend to each other, and an interrupted training resumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from pipelines.models.phi3 import paired_words
from pipelines.text.tokens import ChatTokenizer
from pipelines.tiny.batches import IGNORED, area, count_tokens, make_batch, make_lessons, packed
from pipelines.tiny.examples import Lesson, TrainingQuestion
from pipelines.tiny.lessons import Teacher
from pipelines.tiny.muon import Muon
from pipelines.tiny.stages import Stage
from pipelines.tiny.training import CHECKPOINT, Training, answer_weights

# Batches of one or two lessons: a step takes a second instead of many.
BATCH_TOKENS = 700
STAGES = (
    Stage(2, 40, {"bare": 1.0}, batch_tokens=BATCH_TOKENS),
    Stage(2, 60, {"whole": 0.4, "part": 0.3, "combining": 0.3}, batch_tokens=BATCH_TOKENS),
)
END_ID = 9


def _train(
    tokenizer: ChatTokenizer,
    directory: Path,
    seed: int = 3,
    until: int | None = None,
    stages: Sequence[Stage] = STAGES,
) -> Training:
    """Train in a directory with the tokenizer up to a step, None for the last; return the training.

    The weights before the first step are the same in each call.
    """
    torch.manual_seed(3)
    training = Training(tokenizer, directory, seed, stages)
    training.run(until)
    return training


def _weights(training: Training) -> torch.Tensor:
    """Return all weights of a training's model as one vector."""
    model = training.model.model
    weights = [model.embed_tokens.weight, training.model.lm_head.weight, *model.layers.parameters()]
    return torch.cat([weight.detach().flatten() for weight in weights])


@dataclass
class Interrupted:
    """A training that was interrupted after two of four steps and resumed.

    `before` is a copy of its directory at the interruption, and `after` its directory at the end;
    `weights_before` and `weights` are the weights at these times.
    """

    before: Path
    after: Path
    weights_before: torch.Tensor
    weights: torch.Tensor


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: on a busy machine, several wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def new_directory(
    paired_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """A function that returns a new directory for a training, which contains the tokenizer."""

    def new() -> Path:
        directory = tmp_path_factory.mktemp("training")
        shutil.copy(paired_path / "tokenizer.json", directory)
        return directory

    return new


@pytest.fixture(scope="module")
def uninterrupted(paired_tokenizer: ChatTokenizer, new_directory: Callable[[], Path]) -> Training:
    """A finished training of four steps."""
    return _train(paired_tokenizer, new_directory())


@pytest.fixture(scope="module")
def interrupted(paired_tokenizer: ChatTokenizer, new_directory: Callable[[], Path]) -> Interrupted:
    """The same training, interrupted and resumed."""
    directory = new_directory()
    weights_before = _weights(_train(paired_tokenizer, directory, until=2))
    before = directory / "before"
    shutil.copytree(directory, before)
    return Interrupted(
        before, directory, weights_before, _weights(_train(paired_tokenizer, directory))
    )


def test_a_question_has_the_same_hidden_states_with_and_without_other_questions(
    new_directory: Callable[[], Path], paired_tokenizer: ChatTokenizer
) -> None:
    torch.manual_seed(0)
    training = Training(paired_tokenizer, new_directory(), 0, STAGES)
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


def test_the_first_token_of_each_answer_has_a_weight_of_its_own() -> None:
    first = TrainingQuestion("a", (20, 21, 22), (23, 24))
    second = TrainingQuestion("b", (30, 31), (32,))
    lessons = [Lesson((5, 6, 7), (first, second)), Lesson((5,), (second,))]
    batch = make_batch(lessons, END_ID, Random(0))  # noqa: S311
    targets = batch.targets[(batch.targets != IGNORED) & (batch.question_index >= 0)]
    weights = answer_weights(batch, 8.0)
    assert sorted(targets[weights == 8.0].tolist()) == [23, 32, 32]
    assert sorted(targets[weights == 1.0].tolist()) == [END_ID, END_ID, END_ID, 24]


def test_lessons_in_one_row_have_the_same_hidden_states_as_alone(
    new_directory: Callable[[], Path], paired_tokenizer: ChatTokenizer
) -> None:
    torch.manual_seed(0)
    training = Training(paired_tokenizer, new_directory(), 0, STAGES)
    long = Lesson(tuple(range(300, 340)), (TrainingQuestion("a", (20, 21, 22), (23, 24)),))
    short = Lesson((5, 6, 7), (TrainingQuestion("b", (30, 31), (32,)),))
    rng = Random(0)  # noqa: S311
    batch = make_batch([short, long, short], END_ID, rng)
    assert len(batch.ids) == 1
    alone = make_batch([short], END_ID, rng)
    with torch.no_grad():
        states, expected = training.hidden(batch), training.hidden(alone)[0]
    for number in (0, 2):
        of_lesson = batch.lesson_index == number
        torch.testing.assert_close(states[of_lesson], expected)
        assert batch.ids[of_lesson].tolist() == alone.ids[0].tolist()


def test_batches_are_packed_without_much_padding(paired_tokenizer: ChatTokenizer) -> None:
    stage = Stage(1, 60, {"copying": 1.0})
    lessons = make_lessons(stage, Teacher(paired_tokenizer, "packed"), Random(1))  # noqa: S311
    sizes = [count_tokens(lesson) for lesson in lessons]
    rows = packed(sizes)
    assert sorted(number for row in rows for number in row) == list(range(len(lessons)))
    assert 0.9 * stage.batch_tokens < sum(sizes) <= area(rows, sizes) <= stage.batch_tokens


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


def test_an_interrupted_training_gives_the_same_weights(
    uninterrupted: Training, interrupted: Interrupted
) -> None:
    assert not (interrupted.before / "model.safetensors").exists()
    # the last bits depend on the memory alignment of a matrix; one step changes a weight by 1e-5
    assert float((_weights(uninterrupted) - interrupted.weights).abs().mean()) < 1e-7
    written = load_file(interrupted.after / "model.safetensors")
    assert all(weight.dtype == torch.bfloat16 for weight in written.values())
    assert not (interrupted.after / CHECKPOINT).exists()


def test_the_model_is_the_mean_of_the_weights_after_the_averaged_stages(
    uninterrupted: Training,
    interrupted: Interrupted,
    paired_tokenizer: ChatTokenizer,
    new_directory: Callable[[], Path],
) -> None:
    first, last = interrupted.weights_before, _weights(uninterrupted)
    averaged = [replace(stage, averaged=True) for stage in STAGES]
    directory = new_directory()
    _train(paired_tokenizer, directory, until=3, stages=averaged)
    mean = _weights(_train(paired_tokenizer, directory, stages=averaged))
    assert float((mean - (first + last) / 2).abs().mean()) < 1e-7
    assert float((mean - last).abs().mean()) > 1e-6


def test_embeddings_of_words_with_and_without_a_blank_differ_by_one_vector(
    uninterrupted: Training, paired_path: Path
) -> None:
    ids = Tokenizer.from_file(str(paired_path / "tokenizer.json")).get_vocab()
    pairs = torch.tensor(list(paired_words(ids)))
    assert len(pairs) > 1000
    model = uninterrupted.model
    for rows in (model.model.embed_tokens.weight, model.lm_head.weight):
        differences = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).detach()
        torch.testing.assert_close(differences, differences[:1].expand_as(differences))
        assert float(differences[0].abs().max()) > 0


def test_a_training_does_not_resume_from_the_checkpoint_of_another_one(
    interrupted: Interrupted, paired_tokenizer: ChatTokenizer
) -> None:
    with pytest.raises(ValueError, match="another seed, other stages or other prompts"):
        _train(paired_tokenizer, interrupted.before, seed=4)
