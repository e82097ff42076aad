"""`phifleet report`: writes the page of a run, from its OUTPUT alone. Needs no cluster.

Imports what it needs only when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json

from jobs.options import positive

DEFAULT_DOCUMENTS = 10


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, besides OUTPUT, to its parser."""
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--documents",
        type=positive,
        default=DEFAULT_DOCUMENTS,
        metavar="N",
        help=f"show N documents, spread over the answers (default: {DEFAULT_DOCUMENTS})",
    )
    shown.add_argument(
        "--id",
        action="append",
        default=[],
        dest="ids",
        metavar="ID",
        help="show the document with this id instead; may be repeated",
    )
    parser.add_argument(
        "--to", metavar="FILE", help="write the page to this local file, not to OUTPUT/report.html"
    )


def run_report(options: argparse.Namespace) -> int:
    """Run the command with its parsed options, and return its exit code."""
    from pipelines.reporting.page.gathering import Choice
    from pipelines.reporting.page.writing import write_report

    choice = Choice(options.documents, tuple(options.ids))
    report, where = write_report(options.output, choice, options.to)
    print(json.dumps({"report": where, **report.to_json()}) if options.json else where)
    return 0
