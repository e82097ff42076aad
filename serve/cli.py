"""The command `phifleet serve`: the endpoint on this machine, until it is stopped."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).with_name("demo.yaml")
EXAMPLE = """\
a serve file (YAML); every section may be left out:
  name: filings                                         # of the application and its metrics
  model: {name: microsoft/Phi-3-mini-128k-instruct}     # or a local path, or the built-in `tiny`
  tasks:                                                # what requests may ask for by name
    - {name: summary, kind: summarize, max_words: 120}
    - {name: auditor, kind: ask, question: "Who audited the statements?"}
  pools:                                                # engines; without `long`, what `short`
    short: {min: 1, max: 4}                             # does not hold is read in chunks
    long:  {min: 0, max: 2, up_after_seconds: 10, down_after_seconds: 120}
  keys:  {file: keys.yaml}                              # beside this file; without it, a key is
                                                        # made and shown once
  feedback: {path: feedback/}                           # Parquet, input for a job; or s3://...
  long_documents: {strategy: auto}                      # as in a job file
these are the defaults of what else there is:
  compute: {gpus_per_replica: auto, cpus_per_replica: 1, tensor_parallel: 1}
  http:    {host: 127.0.0.1, port: 8000, replicas: 1, cors_origins: []}
  limits:                                               # the most of one request, and of an engine
    {body_bytes: 8388608, text_characters: 4000000, tasks: 16, schema_depth: 8, output_tokens: 4096,
     request_seconds: 600, body_seconds: 60, outstanding_share: 2, long_model_len: null}

the file of keys is read again whenever it changes:
  keys:
    - {name: alice, sha256: 3a7f..., requests_per_minute: 60, tokens_per_minute: 200000}
"""


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command. `command(name, does, text, more)` makes a parser of the command line."""
    parser = command("serve", _serve, "answer requests for single documents over HTTP", EXAMPLE)
    parser.add_argument(
        "serve",
        type=Path,
        nargs="?",
        default=DEMO,
        metavar="SERVE",
        help="the serve file (default: some tasks for the built-in model, on a CPU)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key of the serve file, e.g. http.port=8080",
    )
    parser.add_argument(
        "--new-key",
        metavar="NAME",
        help="make a key, show it once with its line for the file of keys, and do no more",
    )


def _serve(options: argparse.Namespace) -> int:
    if options.new_key is not None:
        return _new_key(options)
    from serve.local import serve_locally
    from serve.spec import load_serve

    spec = load_serve(options.serve, options.overrides)
    # nobody's keys lie beside the example
    beside = Path() if options.serve == DEMO else options.serve.parent
    return serve_locally(spec, beside, as_json=options.json)


def _new_key(options: argparse.Namespace) -> int:
    from serve.access.keys import key_digest, key_line, new_key

    key = new_key()
    line = key_line(options.new_key, key)
    if options.json:
        told: dict[str, Any] = {"name": options.new_key, "key": key, "sha256": key_digest(key)}
        print(json.dumps(told))
        return 0
    print(key)
    print(
        f"Give it to its owner: it is kept nowhere. The line for the file of keys:\n{line}",
        file=sys.stderr,
    )
    return 0
