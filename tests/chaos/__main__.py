"""`python -m chaos`, from the tests' directory; `make chaos N=100` from the project's."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from fakes_storage import S3Server

from chaos.proxy import FaultyProxy
from chaos.storm import Ground, Storm


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, ExitStack() as stack:
        directory = Path(scratch)
        outputs, environment = str(directory / "out"), {}
        if options.storage == "s3":
            server = stack.enter_context(S3Server())
            proxy = stack.enter_context(FaultyProxy(server.endpoint, options.faults, options.seed))
            environment = {**server.environment, "AWS_ENDPOINT_URL": proxy.endpoint}
            # we look at what was written by a way without faults
            os.environ.update(server.environment)
            outputs = server.new_bucket()
        ground = Ground(directory, outputs, environment, options.documents, options.engine)
        report = Storm(ground, options.seed).rage(options.kills)
    print(report.table())
    return 0 if report.sound else 1


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
