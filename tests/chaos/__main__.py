"""Disturb runs of phifleet at random moments, and check that their output is complete.

Runs as `python -m chaos` from the tests' directory, or as `make chaos N=100` from the project's.
Prints a table of the faults and what was found; exits with 1 if a check failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fakes_storage import S3Server

from chaos.disk import MountRefused
from chaos.grounds import faulty_s3, small_disk
from chaos.storm import Environment, FaultInjector


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, ExitStack() as stack:
        environment = _environment(options, Path(scratch), stack)
        environment = replace(environment, moving=options.input == "delta")
        report = FaultInjector(environment, options.seed).run(options.kills)
    print(report.table())
    return 0 if report.sound else 1


def _environment(options: argparse.Namespace, directory: Path, stack: ExitStack) -> Environment:
    common = (directory, options.documents, options.engine)
    if options.storage == "s3":
        server = stack.enter_context(S3Server())
        # the checks read the output directly from the server, not through the faulty proxy
        os.environ.update(server.environment)
        return stack.enter_context(
            faulty_s3(server, *common, share=options.faults, seed=options.seed)
        )
    try:
        return stack.enter_context(small_disk(*common))
    except MountRefused as error:
        print(f"{error}; the fault `full disk` is left out", file=sys.stderr)
    return Environment(directory, str(directory / "out"), options.documents, options.engine)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=10, help="number of faults to inject (default: 10)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the random choices (default: 1)"
    )
    parser.add_argument(
        "--storage", choices=("local", "s3"), default="local",
        help="where the runs write: a local disk, or an S3 server with failing requests",
    )  # fmt: skip
    parser.add_argument(
        "--input", choices=("parquet", "delta"), default="parquet",
        help="what the runs read: a Parquet file, or a Delta table with a new version in the "
        "middle of each run",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("real", "quick"), default="real",
        help="vLLM, or a fake engine with fixed answers, which starts faster",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=int, default=300, help="number of documents per run (default: 300)"
    )
    parser.add_argument(
        "--faults", type=float, default=0.02, help="share of S3 requests that fail (default: 0.02)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
