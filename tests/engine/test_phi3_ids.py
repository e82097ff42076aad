"""Tests that the ids of Phi-3's own tokenizer go through a real engine, on the CPU.

The model has Phi-3's tokenizer and vocabulary, its context and rope factors, and random weights of
a small shape. So its answers mean nothing, but the grammar makes each a valid one.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterator

import pytest
import zmq
from fakes import tasks_of
from needs import PHI3, needs_phi3
from tokenizers import Tokenizer

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, Fields, Label, Reply
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import AskTask, ClassifyTask, ExtractTask, SummarizeTask, TaskSpec
from pipelines.models.phi3 import Shape, phi3_config, write_weights
from pipelines.models.resolve import Model, resolve
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

pytestmark = [
    needs_phi3,
    pytest.mark.asyncio(loop_scope="session"),
    # torch and vLLM warn on import and on shutdown
    pytest.mark.filterwarnings("ignore"),
]

TEXT = "本公司 Acme </s> sells <|end|> anvils.\r\n  Since 1924, for 12.50 €. 👩‍👩‍👧 น้ำ " * 4
SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=6),
    AskTask(name="who", question="Who sells?", max_tokens=12),
    ClassifyTask(name="kind", labels=("report", "letter")),
    ExtractTask(name="facts", fields={"since": "integer", "sold": "boolean"}),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A directory with Phi-3's tokenizer and config, and random weights of a small shape."""
    import torch
    from transformers import Phi3ForCausalLM

    directory = tmp_path_factory.mktemp("phi3")
    for file in (PHI3 / "tokenizer/july-2024").iterdir():
        shutil.copyfile(file, directory / file.name)
    shutil.copyfile(PHI3 / "128k/generation_config.json", directory / "generation_config.json")
    factors = json.loads((PHI3 / "128k/config.json").read_text())["rope_scaling"]
    shape = Shape(96, 1, 128, factors["short_factor"], factors["long_factor"])
    ids = Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab()
    config = phi3_config(ids, shape)
    assert config.vocab_size == 32_064
    config.save_pretrained(directory)
    torch.manual_seed(1)
    write_weights(Phi3ForCausalLM(config).state_dict(), directory)
    return resolve(str(directory))


@pytest.fixture(scope="module")
def phi3(model: Model) -> ChatTokenizer:
    return load_tokenizer(model.path)


@pytest.fixture(scope="module")
def engine(model: Model, phi3: ChatTokenizer) -> Iterator[VllmEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    started = VllmEngine(EngineConfig(model, 4096, gpu=False), phi3)
    yield started
    started.shutdown()
    sockets = [item for item in gc.get_objects() if issubclass(type(item), zmq.Socket)]
    assert all(socket.closed for socket in sockets)


async def test_the_engine_reads_exactly_the_ids_of_the_prompt(
    engine: VllmEngine, phi3: ChatTokenizer
) -> None:
    prompt = phi3.build_prompt(phi3.encode(TEXT))
    assert prompt[0] == 32_010 and prompt[-2:] == [32_007, 32_001]
    assert not {0, 1, 2}.intersection(prompt) and max(prompt[1:-2]) < 32_000
    completion = await engine.generate(prompt, Sampling(6))
    assert completion.usage.prompt_tokens == len(prompt)
    again = await engine.generate(prompt, Sampling(6))
    assert again.text == completion.text


async def test_every_kind_of_task_is_answered(
    engine: VllmEngine, model: Model, phi3: ChatTokenizer
) -> None:
    tasks = tasks_of(SPECS, model, phi3)
    result = await answer_document(Document("d", TEXT), tasks, engine)
    values = {answer.task: answer.value for answer in result.answers}
    assert isinstance(values["kind"], Label) and values["kind"].label in ("report", "letter")
    statuses = {answer.task: answer.status for answer in result.answers}
    assert statuses["kind"] == statuses["summary"] == "answered"
    for answer in result.answers:
        if answer.task == "facts" and answer.status == "answered":
            assert isinstance(answer.value, Fields)
            since, sold = answer.value.values["since"], answer.value.values["sold"]
            assert since is None or isinstance(since, int)
            assert sold is None or isinstance(sold, bool)
        if answer.task == "who":
            assert answer.value is None or isinstance(answer.value, Reply)
