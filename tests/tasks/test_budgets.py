"""Tests of the token limits of answers: forms of any size, summaries in any script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.budgets import FormBudget, SummaryBudget, form_budget, tokens_per_word
from pipelines.tasks.decoding import JSON_SEPARATORS
from pipelines.tasks.extraction import schema_of
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

REAL = Path(__file__).parents[3] / "shared/phi3/tokenizer/july-2024"
NEEDS_REAL = pytest.mark.skipif(
    not REAL.exists(), reason="Phi-3's tokenizer is not in ../shared beside the project"
)
# A text in each script, and how many words a reader counts in it.
SUMMARIES = {
    "english": ("The board approved the annual accounts and proposed a dividend for the year.", 13),
    "german": ("Der Aufsichtsrat schlug für das Geschäftsjahr eine höhere Dividende vor.", 10),
    "french": ("Le conseil a approuvé les comptes annuels et propose un dividende majoré.", 12),
    "polish": ("Rada zatwierdziła roczne sprawozdanie i zaproponowała wypłatę dywidendy.", 8),
    "hungarian": ("Az igazgatóság jóváhagyta az éves beszámolót és osztalékot javasol.", 9),
    "vietnamese": ("Hội đồng quản trị đã phê duyệt báo cáo tài chính và đề xuất chia cổ tức.", 17),
    # in ASCII only
    "indonesian": ("Dewan komisaris menyetujui laporan keuangan dan mengusulkan dividen.", 8),
    "swahili": ("Bodi ya wakurugenzi iliidhinisha hesabu na kupendekeza gawio.", 8),
    "dutch": ("De raad keurde de jaarrekening goed en stelt een hoger dividend voor.", 12),
    "technical": ("Immunohistochemically downregulated phosphatidylinositol hydroperoxidases.", 4),
    "finnish": ("Hallitus hyväksyi tilinpäätöksen ja ehdotti osingonjakoa tilikaudelta.", 7),
    "russian": ("Совет директоров утвердил годовую отчётность и предложил выплату дивидендов.", 9),
    "arabic": ("وافق مجلس الإدارة على الحسابات السنوية واقترح توزيع أرباح نقدية.", 10),
    "hindi": ("निदेशक मंडल ने वार्षिक लेखों को मंजूरी दी और लाभांश का प्रस्ताव रखा।", 13),
    "korean": ("이사회는 연간 재무제표를 승인하고 배당금 지급을 제안했다.", 7),
    "chinese": ("董事会批准了年度财务报表并提议派发本年度股息以回报全体股东。", 15),
    "japanese": ("取締役会は年次決算を承認し当期の配当金の支払いを提案しました。", 15),
    "thai": ("คณะกรรมการอนุมัติงบการเงินประจำปีและเสนอจ่ายเงินปันผลให้แก่ผู้ถือหุ้น", 15),
}


def budget(fields: dict[str, Any]) -> FormBudget:
    spec = ExtractTask.model_validate({"name": "facts", "kind": "extract", "fields": fields})
    return form_budget(schema_of(spec), lambda text: len(text) // 3 + 1)


@pytest.fixture(scope="module")
def real() -> ChatTokenizer:
    return load_tokenizer(REAL)


def test_a_larger_form_keeps_more_tokens_free() -> None:
    one, two = budget({"ok": "boolean"}), budget({"a": "string", "b": ["string"]})
    assert 64 <= one.planned_tokens < two.planned_tokens <= 1024
    assert budget({f"f{n}": ["string"] for n in range(20)}).planned_tokens == 1024


def test_a_form_has_room_for_its_smallest_answer() -> None:
    names = [f"a_rather_long_name_{n}" for n in range(300)]
    large = budget(dict.fromkeys(names, "number"))
    empty = {**dict.fromkeys(names), "quotes": dict.fromkeys(names)}
    smallest = json.dumps(empty, separators=JSON_SEPARATORS)
    assert large.planned_tokens >= large.least_tokens >= len(smallest) // 3
    assert large.wanted("A note.", 3) >= large.planned_tokens


def test_a_form_about_a_dense_script_may_be_longer() -> None:
    form = budget({"a": "string", "b": "string"})
    english = form.wanted("x" * 1000, 260)
    assert form.wanted("x" * 1000, 1446) > 4 * english
    assert form.wanted("x" * 1000, 100) == english


def test_after_a_cut_a_list_may_be_as_long_as_the_text() -> None:
    items = budget({"a": [{"name": "string", "price": "number"}]})
    assert items.after_a_cut(500, 3000) >= 500 + 2 * 3000
    assert budget({"a": "string"}).after_a_cut(500, 3000) == 1000


def test_a_limit_below_the_smallest_answer_is_refused_with_both(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    fields = {f"field_{n}": "number" for n in range(60)}
    spec = ExtractTask.model_validate(
        {"name": "facts", "kind": "extract", "fields": fields, "max_tokens": 100}
    )
    with pytest.raises(SpecError, match=r"tasks\.facts\.max_tokens: 100, must be at least \d{3}"):
        tokenize_tasks([spec], tiny_tokenizer)


def test_a_form_with_a_limit_of_its_own_keeps_it(tiny_tokenizer: ChatTokenizer) -> None:
    spec = ExtractTask.model_validate(
        {"name": "facts", "kind": "extract", "fields": {"a": ["string"]}, "max_tokens": 2000}
    )
    (task,) = tokenize_tasks([spec], tiny_tokenizer)
    for question in (task.question, task.chunk_question):
        assert (question.planned_tokens, question.sampling.max_tokens) == (2000, 2000)
        assert question.about("x" * 100, 144, 10_000).sampling.max_tokens == 2000
    assert task.question.about("x" * 100, 144, 500).sampling.max_tokens == 500


@NEEDS_REAL
@pytest.mark.parametrize("script", SUMMARIES)
def test_a_summary_has_room_for_its_words_in_any_script(real: ChatTokenizer, script: str) -> None:
    sentence, words = SUMMARIES[script]
    text = sentence * 40
    tokens = len(real.encode(text))
    limit = SummaryBudget(40 * words).wanted(text, tokens)
    assert limit >= tokens
    assert limit <= 6 * tokens


@NEEDS_REAL
def test_white_space_of_a_layout_leaves_a_summary_its_room(real: ChatTokenizer) -> None:
    sentence, words = SUMMARIES["polish"]
    laid_out = f"{sentence}\n{' ' * 60}" * 40
    limit = SummaryBudget(40 * words).wanted(laid_out, len(real.encode(laid_out)))
    assert limit >= len(real.encode(sentence * 40))


@NEEDS_REAL
def test_the_script_is_not_told_by_a_front_page_alone(real: ChatTokenizer) -> None:
    (sentence, words), front = SUMMARIES["thai"], "Annual report of the company. " * 150
    text = front + sentence * 300
    limit = SummaryBudget(40 * words).wanted(text, len(real.encode(text)))
    assert limit >= len(real.encode(sentence * 40))


def test_tokens_per_word_are_bounded() -> None:
    assert tokens_per_word("", 0) == 2
    assert tokens_per_word("word " * 100, 100) == 2
    assert tokens_per_word("é" * 1000, 100_000) == 20
