"""Checks that what the README states is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from pipelines.job.spec import parse_job
from pipelines.tasks.guidance import check_lengths
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.tokens import ChatTokenizer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_job_file_is_accepted_and_its_tasks_can_be_run(tiny_tokenizer: ChatTokenizer) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    spec = parse_job(yaml.safe_load(example))
    assert [task.spec.name for task in tokenize_tasks(spec.tasks, tiny_tokenizer)] == [
        "summary",
        "topic",
        "facts",
        "auditor",
    ]


def test_the_example_of_instructions_and_examples_is_accepted(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/tasks.md").read_text(), re.S)
    spec = parse_job(
        {"input": {"path": "in"}, "output": {"path": "out"}, **yaml.safe_load(example)}
    )
    check_lengths(spec.tasks, spec.instructions, tiny_tokenizer, 4096)
    topic, facts, *_ = tokenize_tasks(spec.tasks, tiny_tokenizer)
    assert "- earnings: profit, loss, dividends\n- other\n" in topic.question.text
    assert '"subsidiaries":[string,...],' in facts.question.text


def test_the_tasks_of_its_guide_to_labels_and_texts_can_be_run(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/writing.md").read_text(), re.S)
    assert len(examples) == 3
    for example in examples:
        data = yaml.safe_load(example)
        tasks = data["tasks"] if isinstance(data, dict) else data
        spec = parse_job({"input": {"path": "in"}, "output": {"path": "out"}, "tasks": tasks})
        assert len(tokenize_tasks(spec.tasks, tiny_tokenizer)) == len(tasks)


@pytest.mark.parametrize("command", re.findall(r"\| `phifleet (\w+)", README))
def test_every_command_exists_and_has_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make (\w+)", README, re.M))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("name", re.findall(r"^(\w+)/ ", README, re.M))
def test_the_tree_is_there(name: str) -> None:
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    name, _, anchor = link.partition("#")
    assert (ROOT / name).exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", (ROOT / name).read_text(), re.M)
        assert anchor in [heading.lower().replace(" ", "-") for heading in headings]


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 200
