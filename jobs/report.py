"""`phifleet report`: writes the page of a run, from its OUTPUT alone. Needs no cluster.

Imports what it needs only when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from jobs.options import positive

if TYPE_CHECKING:
    from jobs.hosts import Host
    from jobs.summary import RunPrinter

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


def report_finished_run(output: str, host: Host, printer: RunPrinter) -> None:
    """Write the report of the run in `output`, which has finished, and print where it is.

    The run stays done whatever happens here: a failure or a signal is printed as a notice.
    """
    from jobs.control import Stopped

    try:
        with host.stop_on_signals():
            from pipelines.reporting.page.writing import AFTER_A_RUN, write_report

            _, where = write_report(output, AFTER_A_RUN)
    except Stopped as stopped:
        printer.print_no_report(f"stopped by {stopped}", output)
    except Exception as error:
        # a page that nobody may look at must not turn a finished run into a failed one
        printer.print_no_report(f"{type(error).__name__}: {error}", output)
    else:
        printer.print_report(where)
