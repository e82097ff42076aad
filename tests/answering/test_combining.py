"""Tests of combining findings: as few prompts as possible, and every prompt fits its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from fakes import tasks_of
from hypothesis import given
from hypothesis import strategies as st

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import (
    AnswerValue,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    Reply,
    Summary,
    Usage,
)
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Completion, Question, Task
from pipelines.tasks.questions import tokenize_tasks
from pipelines.tasks.replies import NOT_STATED
from pipelines.text.prompts import Prompts
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer

TEXT = "Acme made anvils. Then Acme made springs. Ann audited it. Bo audited it."
SUMMARIZE = SummarizeTask(name="s", max_words=20)
CLASSIFY = ClassifyTask(name="c", labels=("risk", "earnings", "other"))
ASK = AskTask(name="a", question="Who audited it?", max_tokens=30)
EXTRACT = ExtractTask(name="e", fields={"company": "string", "n": "integer"})


@dataclass
class ScriptedModel:
    """Answers combining prompts by a function, and records what they show before the question."""

    tokenizer: ChatTokenizer
    answer: Callable[[str, Question], str]
    limit: int = 1000
    prompts: list[str] = field(default_factory=list)

    async def __call__(self, shared: Sequence[int], question: Question) -> Completion:
        prompt = self.tokenizer.build_prompt(shared, question.token_ids)
        assert len(prompt) + question.sampling.max_tokens <= self.limit
        text = self.tokenizer.decode(shared)
        self.prompts.append(text)
        return Completion(self.answer(text, question), Usage(), "stop")

    def combiner(self) -> Combiner:
        return Combiner(DocumentSearch(TEXT), Prompts(self.tokenizer), self.limit, self)


def task(spec: TaskSpec, tokenizer: ChatTokenizer) -> Task:
    return tokenize_tasks((spec,), tokenizer)[0]


def shown(words: str, start: int, end: int, path: str = "") -> Evidence:
    return Evidence(path, EvidenceStatus.SHOWN, words, start, end)


def findings_of(*values: AnswerValue) -> list[Finding]:
    """Return a finding of one chunk for each value."""
    return [Finding(at, at + 10, value) for at, value in enumerate(values)]


@pytest.fixture
def model(tiny_tokenizer: ChatTokenizer) -> ScriptedModel:
    return ScriptedModel(tiny_tokenizer, lambda text, question: "combined")


async def test_a_single_summary_is_the_answer(model: ScriptedModel) -> None:
    summary = await model.combiner().combine(
        task(SUMMARIZE, model.tokenizer), findings_of(Summary("x"))
    )
    assert (summary, model.prompts) == (Summary("x"), [])


async def test_summaries_that_fit_are_combined_in_one_prompt_in_order(model: ScriptedModel) -> None:
    values = findings_of(Summary("first"), Summary("second"))
    summary = await model.combiner().combine(task(SUMMARIZE, model.tokenizer), values)
    assert summary == Summary("combined")
    (prompt,) = model.prompts
    assert prompt.index("- first") < prompt.index("- second")


@given(st.lists(st.text(max_size=300), min_size=1, max_size=300), st.integers(150, 2000))
async def test_combining_in_levels_ends_and_every_prompt_fits(
    tiny_tokenizer: ChatTokenizer, summaries: list[str], limit: int
) -> None:
    model = ScriptedModel(tiny_tokenizer, lambda text, question: text * 2, limit)
    spec = SummarizeTask(name="s", max_words=10)
    values = findings_of(*(Summary(text) for text in summaries))
    await model.combiner().combine(task(spec, tiny_tokenizer), values)
    assert len(model.prompts) <= 2 * len(summaries)


async def test_replies_that_agree_need_no_prompt(model: ScriptedModel) -> None:
    first, second = shown("Ann audited", 42, 53), shown("audited it", 46, 56)
    values = findings_of(Reply("Ann", (first,)), Reply(NOT_STATED), Reply("ann.", (second, first)))
    reply = await model.combiner().combine(task(ASK, model.tokenizer), values)
    assert (reply, model.prompts) == (Reply("Ann", (first, second)), [])


async def test_missing_evidence_needs_no_prompt(model: ScriptedModel) -> None:
    nothing = findings_of(Reply(NOT_STATED), Reply(""))
    assert await model.combiner().combine(task(ASK, model.tokenizer), nothing) == Reply(NOT_STATED)
    unverified = findings_of(
        Reply(NOT_STATED), Reply(None, (Evidence("", EvidenceStatus.ABSENT, quote="Eve"),))
    )
    reply = await model.combiner().combine(task(ASK, model.tokenizer), unverified)
    assert reply == Reply(None, (Evidence("", EvidenceStatus.ABSENT, quote="Eve"),))
    assert model.prompts == []


async def test_replies_that_differ_are_combined_with_their_quotes(model: ScriptedModel) -> None:
    ann, bo = shown("Ann audited it", 42, 56), shown("Bo audited it", 58, 71)
    model.answer = lambda text, question: "Ann and Bo\nQuote: Bo audited it\nQuote: made springs"
    values = findings_of(Reply("Ann", (ann,)), Reply("Bo", (bo,)))
    reply = await model.combiner().combine(task(ASK, model.tokenizer), values)
    springs = TEXT.index("made springs")
    assert reply == Reply(
        "Ann and Bo", (bo, shown("made springs", springs, springs + len("made springs")))
    )
    assert "Ann audited it" in model.prompts[0] and "Bo audited it" in model.prompts[0]


async def test_a_combined_reply_without_quotes_gets_those_of_agreeing_chunks(
    model: ScriptedModel,
) -> None:
    ann, bo = shown("Ann audited it", 42, 56), shown("Bo audited it", 58, 71)
    model.answer = lambda text, question: "Bo"
    values = findings_of(Reply("Ann", (ann,)), Reply("Bo", (bo,)))
    assert await model.combiner().combine(task(ASK, model.tokenizer), values) == Reply("Bo", (bo,))


async def test_replies_without_verified_quotes_are_ignored_if_another_has_one(
    model: ScriptedModel,
) -> None:
    bo = shown("Bo audited it", 58, 71)
    made_up = Evidence("", EvidenceStatus.ABSENT, quote="Eve audited it")
    values = findings_of(Reply("Ann"), Reply("Bo", (bo,)), Reply("Eve", (made_up,)))
    reply = await model.combiner().combine(task(ASK, model.tokenizer), values)
    assert (reply, model.prompts) == (Reply("Bo", (bo,)), [])


async def test_a_clear_vote_needs_no_prompt(model: ScriptedModel) -> None:
    values = findings_of(Label("risk", 0.9), Label(CANNOT_TELL, 0.99), Label("risk", 0.7))
    label = await model.combiner().combine(task(CLASSIFY, model.tokenizer), values)
    assert isinstance(label, Label) and label.label == "risk"
    assert label.confidence == pytest.approx(0.8) and model.prompts == []


async def test_a_tie_is_decided_from_the_surest_chunk_of_each_label(model: ScriptedModel) -> None:
    def choose(text: str, question: Question) -> str:
        assert question.sampling.choices == ("risk", "other")
        return "other"

    model.answer = choose
    values = [
        Finding(0, 18, Label("risk", 0.4)),
        Finding(18, 42, Label("other", 0.8)),
        Finding(42, 57, Label("risk", 0.4)),
    ]
    label = await model.combiner().combine(task(CLASSIFY, model.tokenizer), values)
    assert isinstance(label, Label) and label.label == "other"
    assert "Then Acme made springs." in model.prompts[0]


async def test_a_document_without_any_vote_is_labelled_by_its_beginning(
    model: ScriptedModel,
) -> None:
    model.answer = lambda text, question: (question.sampling.choices or ("",))[1]
    values = findings_of(Label(CANNOT_TELL, 0.5), Label(CANNOT_TELL, 0.9))
    label = await model.combiner().combine(task(CLASSIFY, model.tokenizer), values)
    assert isinstance(label, Label) and label.label == "earnings"
    assert "Acme made anvils" in model.prompts[0]


async def test_each_conflict_is_resolved_by_a_prompt_with_its_candidates(
    model: ScriptedModel,
) -> None:
    def choose(text: str, question: Question) -> str:
        assert question.sampling.choices == ("1", "2")
        return "2" if "Which value of company" in question.text else "1"

    model.answer = choose
    acme, other = (
        shown("Acme made anvils", 0, 16, "company"),
        shown("made springs", 17, 29, "company"),
    )
    values = findings_of(
        Fields({"company": "Acme", "n": 1}, (acme,)), Fields({"company": "Other", "n": 2}, (other,))
    )
    fields = await model.combiner().combine(task(EXTRACT, model.tokenizer), values)
    assert fields == Fields({"company": "Other", "n": 1}, (other,))
    company = next(prompt for prompt in model.prompts if '"Acme"' in prompt)
    assert 'the document says: "Acme made anvils"' in company


async def test_a_conflict_about_an_object_shows_whole_objects(model: ScriptedModel) -> None:
    model.answer = lambda text, question: "2"
    spec = ExtractTask(name="e", fields={"auditor": {"name": "string", "city": "string"}})
    first, second = {"name": "KPMX", "city": None}, {"name": "Ey", "city": "Oslo"}
    evidence = (
        Evidence("auditor.name", EvidenceStatus.SHOWN, "Ey audited", 12, 22),
        Evidence("auditor.city", EvidenceStatus.NEAR, "Osl", 24, 27),
    )
    shown = Evidence("auditor.name", EvidenceStatus.SHOWN, "KPMX", 1, 5)
    values = findings_of(
        Fields({"auditor": first}, (shown,)), Fields({"auditor": second}, evidence)
    )
    fields = await model.combiner().combine(task(spec, model.tokenizer), values)
    assert fields == Fields({"auditor": second}, evidence)
    (prompt,) = model.prompts
    assert '1. {"name":"KPMX","city":null} - the document says: "KPMX"' in prompt
    assert '2. {"name":"Ey","city":"Oslo"} - the document says: "Ey audited"' in prompt


async def test_of_too_many_candidates_those_stated_most_often_are_kept(
    model: ScriptedModel,
) -> None:
    model.answer = lambda text, question: (question.sampling.choices or ("",))[-1]
    often = Fields({"company": "Often", "n": None}, ())
    rare = [Fields({"company": f"Rare {n} {'x' * 90}", "n": None}, ()) for n in range(100)]
    fields = await model.combiner().combine(
        task(EXTRACT, model.tokenizer), findings_of(*rare, often, often)
    )
    assert isinstance(fields, Fields) and fields.values["company"] == "Often"


async def test_a_conflict_answered_without_a_candidates_number_is_invalid(
    model: ScriptedModel,
) -> None:
    values = findings_of(Fields({"company": "A", "n": 1}, ()), Fields({"company": "B", "n": 1}, ()))
    with pytest.raises(ExceptionGroup) as caught:
        await model.combiner().combine(task(EXTRACT, model.tokenizer), values)
    assert caught.group_contains(InvalidAnswer)


async def test_an_error_in_merging_is_that_of_the_task(
    model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.answering.combining.merge", lambda *_: 1 // 0)
    with pytest.raises(InvalidAnswer, match="ZeroDivisionError"):
        await model.combiner().combine(
            task(EXTRACT, model.tokenizer), findings_of(Fields({"company": "A"}, ()))
        )


async def test_with_only_verified_a_combined_reply_without_a_verified_quote_is_none(
    model: ScriptedModel,
) -> None:
    model.answer = lambda text, question: "Nobody\nQuote: nobody audited it"
    strict = ASK.model_copy(update={"only_verified": True})
    values = findings_of(Reply("Ann"), Reply("Bo"))
    reply = await model.combiner().combine(task(strict, model.tokenizer), values)
    assert isinstance(reply, Reply) and reply.text is None
    model.answer = lambda text, question: "not stated."
    reply = await model.combiner().combine(task(ASK, model.tokenizer), values)
    assert reply == Reply(NOT_STATED)


async def test_two_answers_of_maximum_length_are_combined_without_cutting(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    spec = SummarizeTask(name="s", max_words=800)
    tasks = tasks_of((spec,), tiny_model, tiny_tokenizer)
    max_tokens = tasks.all[0].question.sampling.max_tokens
    ids = tiny_tokenizer.encode("word after word " * max_tokens)[:max_tokens]
    long = tiny_tokenizer.decode_output(ids)
    model = ScriptedModel(
        tiny_tokenizer, lambda text, question: "combined", tasks.reading.combine_prompt_limit
    )
    await model.combiner().combine(tasks.all[0], findings_of(Summary(long), Summary(long)))
    (prompt,) = model.prompts
    assert prompt.count(long) == 2


INSTRUCTIONS = "Prefer what Ann says."
EXAMPLE = {"text": "Acme made a loss.", "answer": "risk"}
OWN_WORDS: dict[str, tuple[TaskSpec, list[Finding]]] = {
    "summaries": (
        SummarizeTask.model_validate(
            {"name": "s", "max_words": 20, "instructions": INSTRUCTIONS, "examples": [EXAMPLE]}
        ),
        findings_of(Summary("first"), Summary("second")),
    ),
    "replies": (
        AskTask.model_validate(
            {
                "name": "a",
                "question": "Who?",
                "instructions": INSTRUCTIONS,
                "examples": [EXAMPLE],
                "max_tokens": 30,
            }
        ),
        findings_of(Reply("Ann"), Reply("Bo")),
    ),
    "tied labels": (
        ClassifyTask.model_validate(
            {
                "name": "c",
                "labels": {"risk": "may go wrong", "other": None},
                "instructions": INSTRUCTIONS,
                "examples": [EXAMPLE],
            }
        ),
        findings_of(Label("risk", 0.5), Label("other", 0.5)),
    ),
    "no label": (
        ClassifyTask.model_validate(
            {
                "name": "c",
                "labels": {"risk": "may go wrong", "other": None},
                "instructions": INSTRUCTIONS,
                "examples": [EXAMPLE],
            }
        ),
        findings_of(Label(CANNOT_TELL, 0.5), Label(CANNOT_TELL, 0.5)),
    ),
    "conflicting values": (
        ExtractTask.model_validate(
            {
                "name": "e",
                "fields": {"company": ["string", "the issuer"]},
                "instructions": INSTRUCTIONS,
                "examples": [{"text": "Acme made a loss.", "answer": {"company": "Acme"}}],
            }
        ),
        findings_of(
            Fields({"company": "Acme"}, (shown("Acme", 0, 4, "company"),)),
            Fields({"company": "Ann"}, (shown("Ann", 42, 45, "company"),)),
        ),
    ),
}


@pytest.mark.parametrize("case", OWN_WORDS)
async def test_combining_prompts_have_the_instructions_of_the_job_and_task_and_no_examples(
    tiny_tokenizer: ChatTokenizer, case: str
) -> None:
    spec, findings = OWN_WORDS[case]
    questions: list[str] = []

    def answer(text: str, question: Question) -> str:
        questions.append(question.text)
        return (question.sampling.choices or ("combined",))[0]

    model = ScriptedModel(tiny_tokenizer, answer)
    prompts = Prompts(tiny_tokenizer, "All are reports.")
    combiner = Combiner(DocumentSearch(TEXT), prompts, model.limit, model)
    await combiner.combine(task(spec, tiny_tokenizer), findings)
    (question,), (prompt,) = questions, model.prompts
    assert prompt.startswith(" All are reports.\n\nThese notes")
    assert question.startswith(f"Instructions: {INSTRUCTIONS}\n\n")
    assert question.partition("Question: ")[0].count("\n\n") == 1
    assert "made a loss" not in question
    assert ("- risk: may go wrong" in question) == ("label" in case)
