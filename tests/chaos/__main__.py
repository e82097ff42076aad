"""`python -m chaos`, from the tests' directory; `make chaos N=100` from the project's."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from fakes_storage import S3Server

from chaos.disk import MountRefused
from chaos.grounds import faulty_s3, small_disk
from chaos.storm import Ground, Storm


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, ExitStack() as stack:
        ground = _ground(options, Path(scratch), stack)
        report = Storm(ground, options.seed).rage(options.kills)
    print(report.table())
    return 0 if report.sound else 1


def _ground(options: argparse.Namespace, directory: Path, stack: ExitStack) -> Ground:
    about = (directory, options.documents, options.engine)
    if options.storage == "s3":
        server = stack.enter_context(S3Server())
        # we look at what was written by a way without faults
        os.environ.update(server.environment)
        return stack.enter_context(
            faulty_s3(server, *about, share=options.faults, seed=options.seed)
        )
    try:
        return stack.enter_context(small_disk(*about))
    except MountRefused as refused:
        print(f"{refused}; no disk is filled", file=sys.stderr)
    return Ground(directory, str(directory / "out"), options.documents, options.engine)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="blows in all (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storage", choices=("local", "s3"), default="local")
    parser.add_argument(
        "--engine", choices=("real", "quick"), default="real",
        help="vLLM's, or one that answers by a rule",
    )  # fmt: skip
    parser.add_argument("--documents", type=int, default=300, help="of a run (default: 300)")
    parser.add_argument(
        "--faults", type=float, default=0.02, help="share of S3 requests that fail (default: 0.02)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
