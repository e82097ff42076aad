"""The command `phifleet serve`: run the endpoint on this machine, or make an API key.

`jobs.cli` finds this module by its entry point and calls `add`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEMO = Path(__file__).with_name("demo.yaml")
"""The serve file of `phifleet serve` without an argument."""
EXAMPLE = """\
a serve file (YAML); every section is optional:
  name: filings                                         # name of the application and its metrics
  model: {name: microsoft/Phi-3-mini-128k-instruct}     # or a local path, or the built-in `tiny`
  tasks:                                                # tasks that a request can name
    - {name: summary, kind: summarize, max_words: 120}
    - {name: auditor, kind: ask, question: "Who audited the statements?"}
  pools:                                                # minimum and maximum number of engines
    short: {min: 1, max: 4}                             # documents of up to 4,096 tokens
    long:  {min: 0, max: 2, up_after_seconds: 10, down_after_seconds: 120}
                                                        # without `long`, a longer document is
                                                        # read in chunks by the pool `short`
  keys:  {file: keys.yaml}                              # relative to the serve file; without it,
                                                        # a new key is made and shown once
  feedback: {path: feedback/}                           # a directory for Parquet files, or s3://...
  long_documents: {strategy: auto}                      # as in a job file
  instructions: All texts are annual reports.           # begins every prompt about a document
other sections and their defaults:
  compute: {gpus_per_replica: auto, cpus_per_replica: 1, tensor_parallel: 1}
  http:    {host: 127.0.0.1, port: 8000, replicas: 1, cors_origins: []}
  limits:                                               # per request; the last two per engine
    {body_bytes: 8388608, text_characters: 4000000, tasks: 16, schema_depth: 8,
     output_tokens: 4096, written_tokens: 65536, request_seconds: 600, body_seconds: 60,
     outstanding_share: 2, long_model_len: null}

the file of API keys is read again when it changes:
  keys:
    - {name: alice, sha256: 3a7f..., requests_per_minute: 60, tokens_per_minute: 200000}
"""
"""The end of `phifleet serve --help`: all sections of a serve file, with example values."""


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command `serve` and its options to the command line.

    `command` is called as `command(name, function, help, epilog)`. It must add a subcommand whose
    exit code is that of `function(options)`, and return the subcommand's parser. `options.json` is
    expected to be set.
    """
    parser = command("serve", _serve, "answer requests for single documents over HTTP", EXAMPLE)
    parser.add_argument(
        "serve",
        type=Path,
        nargs="?",
        default=DEMO,
        metavar="SERVE",
        help="the serve file (default: a demo with four tasks and the built-in model, on a CPU)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key of the serve file, e.g. http.port=8080; can be repeated",
    )
    parser.add_argument(
        "--new-key",
        metavar="NAME",
        help="print a new API key and its line for the file of API keys, and exit",
    )


def _serve(options: argparse.Namespace) -> int:
    if options.new_key is not None:
        return _new_key(options)
    from serve.local import serve_locally
    from serve.spec import load_serve

    spec = load_serve(options.serve, options.overrides)
    # a user's files are not in the directory of the installed demo
    directory = Path() if options.serve == DEMO else options.serve.parent
    return serve_locally(spec, directory, as_json=options.json)


def _new_key(options: argparse.Namespace) -> int:
    from serve.access.keys import key_digest, key_line, new_key

    key = new_key()
    line = key_line(options.new_key, key)
    if options.json:
        result: dict[str, Any] = {"name": options.new_key, "key": key, "sha256": key_digest(key)}
        print(json.dumps(result))
        return 0
    print(key)
    print(
        f"Give this key to {options.new_key!r}; it is not stored, and cannot be shown again. "
        f"Add this line to the file of API keys:\n{line}",
        file=sys.stderr,
    )
    return 0
