"""Chunks' answers become one by as few questions as it takes, and every prompt fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from fakes import tasks_of
from hypothesis import given
from hypothesis import strategies as st

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import AnswerValue, Fields, Label, Quote, Reply, Summary, Usage
from pipelines.errors import InvalidAnswer
from pipelines.job.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import NOT_STATED, Completion, Question, Task, tokenize_tasks
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

TEXT = "Acme made anvils. Then Acme made springs. Ann audited it. Bo audited it."
SUMMARIZE = SummarizeTask(name="s", max_words=20)
CLASSIFY = ClassifyTask(name="c", labels=("risk", "earnings", "other"))
ASK = AskTask(name="a", question="Who audited it?", max_tokens=30)
EXTRACT = ExtractTask(name="e", fields={"company": "string", "n": "integer"})


@dataclass
class Asked:
    """What was asked, and by which rule it is answered."""

    tokens: ChatTokenizer
    answer: Callable[[str, Question], str]
    limit: int = 1000
    prompts: list[str] = field(default_factory=list)

    async def __call__(self, shared: Sequence[int], question: Question) -> Completion:
        prompt = self.tokens.build_prompt(shared, question.token_ids)
        assert len(prompt) + question.sampling.max_tokens <= self.limit
        text = self.tokens.decode(shared)
        self.prompts.append(text)
        return Completion(self.answer(text, question), Usage(), "stop")

    def combiner(self) -> Combiner:
        return Combiner(TEXT, Prompts(self.tokens), self.limit, self)


def task(spec: TaskSpec, tokens: ChatTokenizer) -> Task:
    return tokenize_tasks((spec,), tokens)[0]


def found(*values: AnswerValue) -> list[Finding]:
    return [Finding(at, at + 10, value) for at, value in enumerate(values)]


@pytest.fixture
def asked(tiny_tokenizer: ChatTokenizer) -> Asked:
    return Asked(tiny_tokenizer, lambda text, question: "combined")


async def test_one_summary_is_the_documents(asked: Asked) -> None:
    summary = await asked.combiner().combine(task(SUMMARIZE, asked.tokens), found(Summary("x")))
    assert (summary, asked.prompts) == (Summary("x"), [])


async def test_summaries_that_fit_are_combined_at_once_in_order(asked: Asked) -> None:
    values = found(Summary("first"), Summary("second"))
    summary = await asked.combiner().combine(task(SUMMARIZE, asked.tokens), values)
    assert summary == Summary("combined")
    (prompt,) = asked.prompts
    assert prompt.index("- first") < prompt.index("- second")


@given(st.lists(st.text(max_size=300), min_size=1, max_size=300), st.integers(150, 2000))
async def test_levels_end_and_every_prompt_fits(
    tiny_tokenizer: ChatTokenizer, summaries: list[str], limit: int
) -> None:
    asked = Asked(tiny_tokenizer, lambda text, question: text * 2, limit)
    spec = SummarizeTask(name="s", max_words=10)
    values = found(*(Summary(text) for text in summaries))
    await asked.combiner().combine(task(spec, tiny_tokenizer), values)
    assert len(asked.prompts) <= 2 * len(summaries)


async def test_evidence_that_agrees_needs_no_question(asked: Asked) -> None:
    first, second = Quote("Ann audited", 42, 53, True), Quote("audited it", 46, 56, True)
    values = found(Reply("Ann", (first,)), Reply(NOT_STATED), Reply("ann.", (second, first)))
    reply = await asked.combiner().combine(task(ASK, asked.tokens), values)
    assert (reply, asked.prompts) == (Reply("Ann", (first, second)), [])


async def test_no_evidence_is_said_without_a_question(asked: Asked) -> None:
    nothing = found(Reply(NOT_STATED), Reply(""))
    assert await asked.combiner().combine(task(ASK, asked.tokens), nothing) == Reply(NOT_STATED)
    unverified = found(Reply(NOT_STATED), Reply(None, (Quote("Eve", None, None, False),)))
    reply = await asked.combiner().combine(task(ASK, asked.tokens), unverified)
    assert reply == Reply(None, (Quote("Eve", None, None, False),))
    assert asked.prompts == []


async def test_evidence_that_differs_is_put_to_the_engine_with_its_quotes(asked: Asked) -> None:
    ann, bo = Quote("Ann audited it", 42, 56, True), Quote("Bo audited it", 58, 71, True)
    asked.answer = lambda text, question: "Ann and Bo\nQuote: Bo audited it\nQuote: made springs"
    values = found(Reply("Ann", (ann,)), Reply("Bo", (bo,)))
    reply = await asked.combiner().combine(task(ASK, asked.tokens), values)
    springs = TEXT.index("made springs")
    assert reply == Reply(
        "Ann and Bo", (bo, Quote("made springs", springs, springs + len("made springs"), True))
    )
    assert "Ann audited it" in asked.prompts[0] and "Bo audited it" in asked.prompts[0]


async def test_a_combined_answer_without_quotes_has_those_of_who_said_the_same(
    asked: Asked,
) -> None:
    ann, bo = Quote("Ann audited it", 42, 56, True), Quote("Bo audited it", 58, 71, True)
    asked.answer = lambda text, question: "Bo"
    values = found(Reply("Ann", (ann,)), Reply("Bo", (bo,)))
    assert await asked.combiner().combine(task(ASK, asked.tokens), values) == Reply("Bo", (bo,))


async def test_evidence_that_no_quote_shows_is_not_put_beside_what_a_quote_shows(
    asked: Asked,
) -> None:
    bo = Quote("Bo audited it", 58, 71, True)
    made_up = Quote("Eve audited it", None, None, False)
    values = found(Reply("Ann"), Reply("Bo", (bo,)), Reply("Eve", (made_up,)))
    reply = await asked.combiner().combine(task(ASK, asked.tokens), values)
    assert (reply, asked.prompts) == (Reply("Bo", (bo,)), [])


async def test_a_clear_vote_needs_no_question(asked: Asked) -> None:
    values = found(Label("risk", 0.9), Label(CANNOT_TELL, 0.99), Label("risk", 0.7))
    label = await asked.combiner().combine(task(CLASSIFY, asked.tokens), values)
    assert isinstance(label, Label) and label.label == "risk"
    assert label.confidence == pytest.approx(0.8) and asked.prompts == []


async def test_a_tie_is_settled_by_the_surest_chunk_of_each_label(asked: Asked) -> None:
    def choose(text: str, question: Question) -> str:
        assert question.sampling.choices == ("risk", "other")
        return "other"

    asked.answer = choose
    values = [
        Finding(0, 18, Label("risk", 0.4)),
        Finding(18, 42, Label("other", 0.8)),
        Finding(42, 57, Label("risk", 0.4)),
    ]
    label = await asked.combiner().combine(task(CLASSIFY, asked.tokens), values)
    assert isinstance(label, Label) and label.label == "other"
    assert "Then Acme made springs." in asked.prompts[0]


async def test_a_document_of_which_no_chunk_tells_is_labelled_by_its_opening(
    asked: Asked,
) -> None:
    asked.answer = lambda text, question: (question.sampling.choices or ("",))[1]
    values = found(Label(CANNOT_TELL, 0.5), Label(CANNOT_TELL, 0.9))
    label = await asked.combiner().combine(task(CLASSIFY, asked.tokens), values)
    assert isinstance(label, Label) and label.label == "earnings"
    assert "Acme made anvils" in asked.prompts[0]


async def test_conflicts_are_settled_one_by_one_among_their_candidates(asked: Asked) -> None:
    def choose(text: str, question: Question) -> str:
        assert question.sampling.choices == ("1", "2")
        return "2" if "Which value of company" in question.text else "1"

    asked.answer = choose
    acme, other = (
        Quote("Acme made anvils", 0, 16, True, "company"),
        Quote("made springs", 17, 29, True, "company"),
    )
    values = found(
        Fields({"company": "Acme", "n": 1}, (acme,)), Fields({"company": "Other", "n": 2}, (other,))
    )
    fields = await asked.combiner().combine(task(EXTRACT, asked.tokens), values)
    assert fields == Fields({"company": "Other", "n": 1}, (other,))
    company = next(prompt for prompt in asked.prompts if '"Acme"' in prompt)
    assert 'the document says: "Acme made anvils"' in company


async def test_a_hundred_candidates_are_cut_to_those_that_most_chunks_state(asked: Asked) -> None:
    asked.answer = lambda text, question: (question.sampling.choices or ("",))[-1]
    often = Fields({"company": "Often", "n": None}, ())
    rare = [Fields({"company": f"Rare {n} {'x' * 90}", "n": None}, ()) for n in range(100)]
    fields = await asked.combiner().combine(task(EXTRACT, asked.tokens), found(*rare, often, often))
    assert isinstance(fields, Fields) and fields.values["company"] == "Often"


async def test_an_engine_that_settles_nothing_makes_the_answer_invalid(asked: Asked) -> None:
    values = found(Fields({"company": "A", "n": 1}, ()), Fields({"company": "B", "n": 1}, ()))
    with pytest.raises(ExceptionGroup) as caught:
        await asked.combiner().combine(task(EXTRACT, asked.tokens), values)
    assert caught.group_contains(InvalidAnswer)


async def test_a_combined_answer_without_a_true_quote_does_not_stand_where_only_those_do(
    asked: Asked,
) -> None:
    asked.answer = lambda text, question: "Nobody\nQuote: nobody audited it"
    strict = ASK.model_copy(update={"only_verified": True})
    values = found(Reply("Ann"), Reply("Bo"))
    reply = await asked.combiner().combine(task(strict, asked.tokens), values)
    assert isinstance(reply, Reply) and reply.text is None
    asked.answer = lambda text, question: "not stated."
    reply = await asked.combiner().combine(task(ASK, asked.tokens), values)
    assert reply == Reply(NOT_STATED)


async def test_two_answers_as_long_as_they_may_be_are_combined_whole(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    spec = SummarizeTask(name="s", max_words=800)
    tasks = tasks_of((spec,), tiny_model, tiny_tokenizer)
    most = tasks.all[0].question.sampling.max_tokens
    long = tiny_tokenizer.decode_output(tiny_tokenizer.encode("word after word " * most)[:most])
    asked = Asked(
        tiny_tokenizer, lambda text, question: "combined", tasks.reading.combine_prompt_limit
    )
    await asked.combiner().combine(tasks.all[0], found(Summary(long), Summary(long)))
    (prompt,) = asked.prompts
    assert prompt.count(long) == 2
