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
  model: {name: microsoft/Phi-3-mini-128k-instruct}     # or a local path, or the built-in `tiny`
  tasks:                                                # what requests may ask for by name
    - {name: summary, kind: summarize, max_words: 120}
    - {name: auditor, kind: ask, question: "Who audited the statements?"}
  pools: {short: {min: 1, max: 4}, long: {min: 0, max: 2}}
  http:  {host: 127.0.0.1, port: 8000}
  keys:  {file: keys.yaml}                              # without it, a key is made and shown once
  feedback: {path: feedback/}                           # Parquet, input for a job

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
    from serve.local import serve_here
    from serve.spec import load_serve

    spec = load_serve(options.serve, options.overrides)
    return serve_here(spec, options.serve.parent, as_json=options.json)


def _new_key(options: argparse.Namespace) -> int:
    from serve.keys import digest, key_line, new_key

    key = new_key()
    line = key_line(options.new_key, key)
    if options.json:
        told: dict[str, Any] = {"name": options.new_key, "key": key, "sha256": digest(key)}
        print(json.dumps(told))
        return 0
    print(key)
    print(
        f"Give it to its owner: it is kept nowhere. The line for the file of keys:\n{line}",
        file=sys.stderr,
    )
    return 0
