"""Options of commands that need more than a line. Imports nothing of phifleet, so that `--help` is
quick."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Return an option's value as a whole number of at least 1. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, must be a whole number of at least 1")
    return int(text)


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sample to the command `run`."""
    parser.add_argument(
        "--sample",
        type=positive,
        metavar="N",
        help="answer N documents, print their answers, and write nothing to OUTPUT",
    )
    parser.add_argument(
        "--sample-output",
        metavar="DIR",
        help="keep the sample's files in a new directory in DIR, a directory or URL; needed on a "
        "cluster of several nodes, which must reach it",
    )
