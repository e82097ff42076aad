"""Tests of the grammar of replies: a table of replies as instruct models write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.documents import Evidence, EvidenceStatus, Reply
from pipelines.job.task_specs import AskTask
from pipelines.tasks.not_stated import is_not_stated
from pipelines.tasks.replies import NOT_STATED, normalize_reply, split_reply

CASES = Path(__file__).parents[3] / "shared/cases/replies.jsonl"
S = "Smith and Sons"
Q = "audited by Smith"

# reply, answer, quotes
REPLIES: tuple[tuple[str, str, list[str]], ...] = (
    ("Smith and Sons", S, []),
    ("Smith and Sons\nQuote: audited by Smith", S, [Q]),
    ("Smith and Sons\n\nQuote: audited by Smith\n", S, [Q]),
    ("Smith and Sons\nQUOTE: audited by Smith", S, [Q]),
    ("Smith and Sons\nquote: audited by Smith", S, [Q]),
    ('Smith and Sons\nQuotes:\n1. "audited by Smith"\n2) “of Oslo”', S, [Q, "of Oslo"]),
    ("Smith and Sons\nquote : 'audited by Smith'", S, [Q]),
    ("Smith and Sons\n* Quote: audited by Smith", S, [Q]),
    ("- Smith and Sons\n- **Quote:** audited by Smith", S, [Q]),
    ("• Smith and Sons\n• Quote: audited by Smith", S, [Q]),
    ("Smith and Sons\n**Quote**: audited by Smith", S, [Q]),
    ("Smith and Sons\n**Quote: audited by Smith**", S, [Q]),
    ('Smith and Sons\n*Quote:* *"audited by Smith"*', S, [Q]),
    ('**Smith and Sons**\n\n**Quote:** **"audited by Smith"**', S, [Q]),
    ("`Smith and Sons`\nQuote: `audited by Smith`", S, [Q]),
    ("__Smith and Sons__\nQuote: _audited by Smith_", S, [Q]),
    ("The auditor is **Smith and Sons**.", "The auditor is Smith and Sons.", []),
    ("It grew by 5 * 3 * 2 in file_a_b.", "It grew by 5 * 3 * 2 in file_a_b.", []),
    ("Answer: Smith and Sons\nQuote: audited by Smith", S, [Q]),
    ("answer: Smith and Sons", S, []),
    ("**Answer**: Smith and Sons", S, []),
    ("**Answer: Smith and Sons**\n**Quote: audited by Smith**", S, [Q]),
    ("Final answer: Smith and Sons", S, []),
    ("Question: Who audited it?\nAnswer: Smith and Sons\nQuote: audited by Smith", S, [Q]),
    ("### Answer\nSmith and Sons\n\n### Quote\naudited by Smith", S, [Q]),
    ("**Answer**\nSmith and Sons\n\n**Quote**\n> audited by Smith", S, [Q]),
    ("Answer:\nSmith and Sons\nQuote:\naudited by Smith", S, [Q]),
    ("```\nSmith and Sons\nQuote: audited by Smith\n```", S, [Q]),
    ("Antwort: Smith and Sons\nZitat: „audited by Smith“", S, [Q]),
    ("Réponse : Smith and Sons\nCitation : « audited by Smith »", S, [Q]),
    ("Respuesta: Smith and Sons\nCita: «audited by Smith»", S, [Q]),
    ("回答：史密斯\n引用：「由史密斯审计」", "史密斯", ["由史密斯审计"]),
    ("史密斯。引文：“由史密斯审计”", "史密斯。", ["由史密斯审计"]),
    ("Smith and Sons\nQuote: “audited by Smith”", S, [Q]),
    ("Smith and Sons\nQuote: „audited by Smith”", S, [Q]),
    ("Smith and Sons\nQuote: ”audited by Smith”", S, [Q]),
    ("Smith and Sons\nQuote: »audited by Smith«", S, [Q]),
    ("Smith and Sons\nQuote: »audited by Smith»", S, [Q]),
    ("Smith and Sons\nQuote: ‹audited by Smith›", S, [Q]),
    ("Smith and Sons\nQuote: ‘audited by Smith’", S, [Q]),
    ("Smith and Sons\nQuote: ‚audited by Smith‘", S, [Q]),
    ("Smith and Sons\nQuote: 『audited by Smith』", S, [Q]),
    ("Smith and Sons\nQuote: 《audited by Smith》", S, [Q]),
    ("Smith and Sons\nQuote: ＂audited by Smith＂", S, [Q]),
    ('Smith and Sons\nQuote: "audited by Smith".', S, [Q]),
    ('Smith and Sons\nQuote: "audited by Smith" (page 3)', S, [Q]),
    ('Smith and Sons\nQuote (page 3): "audited by Smith"', S, [Q]),
    ('Smith and Sons\nQuote from the document: "audited by Smith"', S, [Q]),
    ('Smith and Sons\nQuote "audited by Smith"', S, [Q]),
    ('Smith and Sons\nQuote - "audited by Smith"', S, [Q]),
    ('Smith and Sons\nSupporting quote: "audited by Smith"', S, [Q]),
    ('Smith and Sons\nQuote: "audited by Smith', S, [Q]),
    ('Smith and Sons (Quote: "audited by Smith")', S, [Q]),
    ('Smith and Sons - Quote: "audited by Smith"', S, [Q]),
    ('Smith and Sons Quote: "audited by Smith"', S, [Q]),
    ('"Smith and Sons" Quote: "audited by Smith"', S, [Q]),
    ("Answer: Smith and Sons. Quote: audited by Smith", S + ".", [Q]),
    ("Smith and Sons\n> audited by Smith", S, [Q]),
    ('Smith and Sons\n"audited by Smith"', S, [Q]),
    ("Smith and Sons\nQuote: audited by\nSmith", S, ["audited by\nSmith"]),
    ('Smith and Sons\nQuote: "audited by\n\nSmith"', S, ["audited by\nSmith"]),
    ('Smith and Sons\nQuote: "audited by\nSmith"\nThat is all.', S + "\nThat is all.",
     ["audited by\nSmith"]),
    ("Smith and Sons\nQuote: one two\nQuote: three four", S, ["one two", "three four"]),
    ('Smith and Sons\nQuote 1: "one"\nQuote 2: "two"', S, ["one", "two"]),
    ('Smith and Sons\nQuotes:\n- "one"\n- "two"', S, ["one", "two"]),
    ("Smith and Sons\nQuotes:\n- one\n- two", S, ["one", "two"]),
    ('Smith and Sons\nQuotes: "one", "two" and "three"', S, ["one", "two", "three"]),
    ('Smith and Sons\nQuote: "one" ... "two"', S, ["one", "two"]),
    ("Smith and Sons\nQuote: one ... two", S, ["one ... two"]),
    ('Acme\nQuote: Acme Corp. (the "Company")', "Acme", ['Acme Corp. (the "Company")']),
    ('Acme\nQuote: "Acme Corp. (the "Company")"', "Acme", ['Acme Corp. (the "Company")']),
    ('Acme\nQuote: "Acme Corp. (the “Company”)"', "Acme", ["Acme Corp. (the “Company”)"]),
    ('Acme\nQuote: "Company" means Acme', "Acme", ['"Company" means Acme']),
    ('Acme\nQuote: "Company" means "Acme"', "Acme", ['"Company" means "Acme"']),
    ("Rent\nQuote: 'the tenants' rent is due'", "Rent", ["the tenants' rent is due"]),
    ("Rent\nQuote: the tenants' rent is due", "Rent", ["the tenants' rent is due"]),
    ('12"\nQuote: a pipe of 12"', '12"', ['a pipe of 12"']),
    ("A price quote: 500 EUR", "A price quote: 500 EUR", []),
    ("The quote of the day", "The quote of the day", []),
    ("-5\nQuote: fell to -5", "-5", ["fell to -5"]),
    ("1. January 2020", "1. January 2020", []),
    ("Fire\nFlood\nQuote: fire, flood", "Fire\nFlood", ["fire, flood"]),
    ("- Fire\n- Flood\n\nQuote: fire, flood", "Fire\nFlood", ["fire, flood"]),
    ("Quote: audited by Smith\nAnswer: Smith and Sons", S, [Q]),
    ('Quote: "audited by Smith"\nSmith and Sons', S, [Q]),
    ("Quote: audited by Smith", Q, [Q]),
    ("Yes\nQuote:", "Yes", []),
    ('Yes\nQuote: ""', "Yes", []),
    ("Yes\nQuote: None", "Yes", []),
    ("Yes\nQuote: N/A", "Yes", []),
    ("No\nQuote: (none)", "No", []),
    ("Smith and Sons\r\nQuote: audited by Smith\r\n", S, [Q]),
)  # fmt: skip

SAID_NOT_STATED = """
Not stated
I'm sorry, but the document does not mention that.
Sorry, but there is no information about the auditor in the text.
not stated.
'Not stated.'
**Not stated**
Not  stated
NOT STATED
Not stated in the document.
Not stated in the text
Not explicitly stated.
Not mentioned.
Not mentioned in the passage.
Not specified
Not given
Not provided
Not available
Not found in the document.
Not disclosed
Not applicable
N/A
n/a.
NA
Unknown
Unknown.
Unspecified
(Not stated)
Not stated (the text covers only the rent).
Not stated. The document covers only the rent.
The text does not say who audited the accounts.
The text does not say.
The document does not mention an auditor.
The document doesn't specify the amount.
The passage does not state this.
This part of the document does not state the date.
The provided text does not mention it.
The notes do not say who the owner is.
The document does not provide information about the auditor.
The document does not contain any information on this.
The text gives no information about it.
The text makes no mention of an auditor.
The agreement is silent on renewal.
The text says nothing about the owner.
It is not stated.
It is not stated in the text.
It is not stated who audited the accounts.
It is not specified whether the rent is fixed.
The auditor is not stated.
The auditor is not stated in the document.
The name of the auditor is not mentioned in the text.
The auditor is not named in the document.
No auditor is mentioned.
No date is given in the document.
None stated
None mentioned.
Nothing is stated about it.
There is no mention of an auditor in the text.
There is no information about the owner.
No information provided.
No information.
No mention of it.
No answer
I don't know.
I cannot find the answer in the text.
It cannot be determined from the text.
Cannot be determined.
It is unknown.
It is unclear.
Insufficient information
Not enough information to answer.
Unfortunately, the text does not say.
Based on the document, it is not stated.
According to the text, the auditor is not stated.
Nicht angegeben
Keine Angaben
Non précisé
No se menciona
Não informado
не указано
未提及
文中未提及
記載なし
명시되지 않음
""".strip().splitlines()

ANSWERS = """
No.
No
None.
None
Yes
0
The rent is not stated to be fixed; it follows the index.
The rent is not fixed.
Not before 2020
Not Stated Ltd.
The fee is not included.
Parking is not available.
The contract does not renew.
It does not apply to tenants.
No notice was given.
There is no evidence of fraud.
There is no renewal.
No, the lease is not renewed.
The text does not say who, but the report was signed by Smith.
Not stated explicitly, but Smith signed it.
Not stated. However, Smith signed it.
The unknown soldier
The lease cannot be assigned.
The lessee cannot be determined liable.
Information Systems Ltd.
The board stated that no dividend is paid.
Nobody
Nothing
The auditor is not named Smith; he is named Jones.
In the document of 1999
The company does not state its revenue because it is private; the filing lists 5 million.
""".strip().splitlines()


@pytest.mark.parametrize(("reply", "answer", "quotes"), REPLIES)
def test_a_reply_is_split_into_answer_and_quotes(
    reply: str, answer: str, quotes: list[str]
) -> None:
    assert split_reply(reply) == (answer, quotes)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not in ../shared beside the project")
def test_the_shared_cases_are_split_as_they_say() -> None:
    for case in map(json.loads, CASES.read_text().splitlines()):
        text, quotes = split_reply(case["reply"])
        reply = normalize_reply(
            AskTask(name="who", question="Who?"),
            text,
            tuple(Evidence("", EvidenceStatus.SHOWN, quote, 0, 1) for quote in quotes),
        )
        if case["not_stated"]:
            assert reply == Reply(NOT_STATED), case
        else:
            assert reply.text == case["answer"], case
            assert [row.text for row in reply.evidence] == case["quotes"], case


@pytest.mark.parametrize("text", SAID_NOT_STATED)
def test_a_reply_that_only_says_so_is_not_stated(text: str) -> None:
    assert is_not_stated(text)
    assert is_not_stated(split_reply(f"Answer: {text}\nQuote: None")[0])


@pytest.mark.parametrize("text", ANSWERS)
def test_a_reply_that_says_more_is_an_answer(text: str) -> None:
    assert not is_not_stated(text)


@pytest.mark.parametrize("text", [None, "", "  ", "''", "**", "-"])
def test_a_reply_without_words_is_not_stated(text: str | None) -> None:
    assert is_not_stated(text)


@pytest.mark.parametrize(
    ("reply", "quotes"),
    [
        ("Smith and Sons\nQuote: audited by Smi", ["audited by"]),
        ('Smith and Sons\nQuote: "audited by Smi', ["audited by"]),
        ("Smith and Sons\nQuote: aud", ["aud"]),
        ("Smith and Sons\nQuote:", []),
        ('Smith and Sons\nQuote: "audited by Smith"', [Q]),
        ("Smith and Sons\nQuote: one two\nQuote: three fo", ["one two", "three"]),
    ],
)
def test_a_quote_that_was_cut_off_loses_its_half_word(reply: str, quotes: list[str]) -> None:
    assert split_reply(reply, cut_off=True) == (S, quotes)


@pytest.mark.parametrize("only_verified", [False, True])
@pytest.mark.parametrize("reply", ["", "  \n", "Answer:", "Quote:"])
def test_an_empty_reply_is_not_stated(reply: str, only_verified: bool) -> None:
    spec = AskTask(name="who", question="Who?", only_verified=only_verified)
    assert normalize_reply(spec, split_reply(reply)[0], ()) == Reply(NOT_STATED)


def test_a_long_reply_is_read_in_linear_time() -> None:
    assert split_reply('"' * 50_000)[1] == []
    assert not is_not_stated("the text is " * 50_000)
    assert split_reply("_a " * 20_000)[0].startswith("_a")
    text, quotes = split_reply("(a) 'b' " * 20_000 + "\nQuote: " + '"x" ' * 20_000)
    assert text.startswith("(a)") and len(quotes) == 20_000
