"""`phifleet evaluate`: prints how well an OUTPUT answers, by right answers. Needs no cluster.

Imports what it needs only when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, besides OUTPUT, to its parser."""
    parser.add_argument(
        "--gold",
        required=True,
        metavar="FILE",
        help="the right answers: Parquet or lines of JSON, a file, a directory or a glob; or the "
        "directory of an endpoint's feedback",
    )
    parser.add_argument(
        "--against",
        metavar="OUTPUT2",
        help="another OUTPUT to compare with, on the same right answers",
    )
    parser.add_argument(
        "--worst",
        type=_number_of_documents,
        default=10,
        metavar="N",
        help="list the N documents with the most wrong answers (default: 10)",
    )


def _number_of_documents(text: str) -> int:
    """Return the number that an argument states; raises ValueError if it is none, or negative."""
    if (count := int(text)) < 0:
        raise ValueError(text)
    return count


def run_evaluate(options: argparse.Namespace) -> int:
    """Run the command with its parsed options, and return its exit code."""
    from jobs.evaluation_text import print_evaluation
    from pipelines.reporting.evaluation import evaluate

    evaluation = evaluate(options.output, options.gold, options.against, options.worst)
    if options.json:
        print(json.dumps(evaluation.to_json()))
    else:
        print_evaluation(evaluation, Console(markup=False, emoji=False, highlight=False))
    return 0
