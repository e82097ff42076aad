"""The command line `phifleet`: parses the arguments, calls a command, returns the exit code.

The arguments are described in `parser.py`; the bodies of commands are in `commands.py` and in
modules of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from jobs.json_log import JsonLog
from jobs.parser import new_parser
from pipelines.errors import PhifleetError

UNEXPECTED = "unexpected error in phifleet"
"""The beginning of the message about an exception that phifleet does not raise on purpose."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, 3 for a KeyboardInterrupt.

    `arguments` are those after the program's name; None stands for the process's own. Errors are
    printed to standard error, not raised; only wrong arguments, `--help` and `--version` raise
    SystemExit.
    """
    options = new_parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except PhifleetError as error:
        return _report_error(error, options)
    except KeyboardInterrupt:
        return 3
    except Exception as error:
        # Python would end with 1, which means too many dead letters
        if not _logs_json(options):
            traceback.print_exc()
        message = (
            f"{UNEXPECTED} ({type(error).__name__}: {error}). This is a bug: please report it with "
            "the traceback above"
        )
        return _report_error(PhifleetError(message), options, traceback.format_exc())
    return code


def _logs_json(options: argparse.Namespace) -> bool:
    return getattr(options, "log_format", "text") == "json"


def _report_error(error: PhifleetError, options: argparse.Namespace, trace: str = "") -> int:
    """Print the error to standard error, with `--json` also as the JSON result; return its exit
    code. `trace` is the traceback of an unexpected error, for a JSON log."""
    if options.json:
        print(json.dumps({"status": "failed", "error": error.message}))
    message = f"phifleet: {error.message}"
    if _logs_json(options):
        details = {"traceback": trace} if trace else {}
        JsonLog(sys.stderr).write(
            "failed", "error", message=message, error=error.message, **details
        )
    else:
        print(message, file=sys.stderr)
    return error.exit_code


def entry() -> NoReturn:
    """Run the console script `phifleet` and end the process without Python's shutdown.

    Threads of pyarrow and Ray may still hold Python objects; a shutdown under them aborts the
    process now and then.
    """
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()
