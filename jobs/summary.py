"""Prints a run's notices, its summary and its JSON result; the live view is in `live.py`.

Knows the screen and the manifest; nothing of Ray, signals or storage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.control import Stopped
from jobs.live import format_duration
from pipelines.corpus.files import SourceFile
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.undivided import describe_undivided
from pipelines.errors import PhifleetError
from pipelines.job.spec import JobSpec
from pipelines.ledger.names import ANSWERS, DEAD_LETTERS
from pipelines.models.resolve import Model
from pipelines.run.screen import Screen


@dataclass(frozen=True, slots=True)
class RunPrinter:
    """Prints what a run reports besides its live view, as text for people to standard error.

    With `as_json`, it also prints the result as one JSON object to standard output, and no summary.
    """

    screen: Screen
    spec: JobSpec
    as_json: bool

    def print_start(self, log: Path) -> None:
        """Print the run's name and the path of its log file, relative to the working directory if
        the file is below it."""
        shown = log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log
        self._notice(f"phifleet run {self.spec.name}; the log is {shown}", one_line=True)

    def print_model(self, model: Model) -> None:
        """Print a warning if the model has random weights; print nothing for any other model."""
        if model.random_weights:
            self._notice(
                f"model {model.name!r} has random weights: its answers mean nothing. Set "
                "model.name to another model for real answers",
                style="yellow",
            )

    def print_undivided(self, files: Sequence[SourceFile]) -> None:
        """Print the large files that only one CPU can index; print nothing if there are none."""
        if notice := describe_undivided(files):
            self._notice(notice, style="yellow")

    def print_not_read(self, not_read: NotRead) -> None:
        """Print how many files below the input are not read, and why; print nothing if there are
        none."""
        if not_read.count:
            self._notice(f"{self.spec.input.path}: {not_read.describe()}", style="yellow")

    def print_node_metrics(self, address: str) -> None:
        """Print `address`, the URL of the Prometheus endpoint of a node of the cluster."""
        self._notice(f"metrics of workers and engines: {address}", one_line=True)

    def print_run_metrics(self, port: int) -> None:
        """Print the URL of the Prometheus endpoint of this run's totals, on `port` of this
        machine."""
        self._notice(f"metrics of the run: http://127.0.0.1:{port}/metrics")

    def print_stopped(self, stopped: Stopped) -> None:
        """Print which signal stops the run, and how to resume it; called before the clean-up."""
        self._notice(
            f"stopped by {stopped}. Committed work is kept; run the same command to resume",
            style="yellow",
        )

    def print_log_not_stored(self, log: Path, error: PhifleetError) -> None:
        """Print that `error` kept the log from being copied to OUTPUT, and that it remains at
        `log`."""
        self._notice(
            f"the log was not copied to OUTPUT; read it at {log}. The cause: {error}",
            style="yellow",
            one_line=True,
        )

    def print_failure(self, message: str) -> None:
        """End the live views and print an error; with `as_json`, also as the JSON result. Call it
        before the process is ended inside its `with` blocks."""
        self.screen.end_views()
        self._result({"status": "failed", "error": message})
        self._notice(f"phifleet: {message}", one_line=True)

    def print_stopped_result(self) -> None:
        """Print the JSON result of a run that a signal stopped."""
        self._result({"run": self.spec.name, "status": "stopped"})

    def print_retried(self, retried: Mapping[str, int], remaining: Mapping[str, int]) -> None:
        """Print how many dead letters were asked again, by reason, and how many there are now."""
        asked = ", ".join(f"{n} {why}" for why, n in retried.items()) or "none"
        left = ", ".join(f"{n} {why}" for why, n in remaining.items()) or "none"
        self._notice(f"dead letters asked again: {asked}; dead letters now: {left}")

    def print_finished(self, manifest: Mapping[str, Any]) -> None:
        """Print the summary of a finished run, or with `as_json` its manifest without the key
        `files`."""
        if self.as_json:
            self._result({key: value for key, value in manifest.items() if key != "files"})
        else:
            self.screen.console.print(summary_table(manifest, self.spec))

    def print_report(self, path: str) -> None:
        """Print the path or URL of the run's report."""
        self._notice(f"the report is {path}", one_line=True)

    def print_no_report(self, reason: str, output: str) -> None:
        """Print why the report of a finished run in `output` was not written, and what to do."""
        self._notice(
            f"the report was not written: {reason}. The run is done; phifleet report {output} "
            "writes it",
            style="yellow",
            one_line=True,
        )

    def _notice(self, text: str, style: str | None = None, *, one_line: bool = False) -> None:
        # a path or URL that is broken over two lines cannot be copied
        self.screen.console.print(text, style=style, soft_wrap=one_line)

    def _result(self, result: Mapping[str, Any]) -> None:
        if self.as_json:
            print(json.dumps(result), file=self.screen.results)


def summary_table(manifest: Mapping[str, Any], spec: JobSpec) -> Table:
    """Return the summary of a finished run as a table for the terminal, with a label and a text in
    each row. `manifest` is the run's manifest, and `spec` its job."""
    reuse = manifest["cached_prompt_tokens"] / max(1, manifest["prompt_tokens"])
    reasons = ", ".join(f"{n} {why}" for why, n in manifest["dead_letter_reasons"].items())
    table = Table.grid(padding=(0, 2))
    table.add_row("answered", f"{manifest['answered']:,} of {manifest['documents']:,} documents")
    table.add_row(
        "dead letters",
        f"{manifest['dead_letters']:,}" + (f" (reasons: {reasons})" if reasons else ""),
    )
    if found := _checks(manifest):
        table.add_row("checks", found)
    table.add_row(
        "tokens",
        f"{manifest['prompt_tokens']:,} in prompts ({reuse:.0%} from the prefix cache), "
        f"{manifest['output_tokens']:,} generated{_steps(manifest)}",
    )
    table.add_row(
        "time",
        f"{format_duration(manifest['wall_seconds'])} in total; engine start "
        f"{manifest['engine_start_seconds']:.0f} s, then {manifest['steady_seconds']:.1f} s at "
        f"{manifest['tokens_per_second']:,.0f} tokens/s",
    )
    table.add_row("engines", _engines(manifest["bill"]))
    table.add_row("answers", f"{spec.output.path.rstrip('/')}/{ANSWERS}{_table(manifest)}")
    if (empty := manifest["files_without_rows"])["count"]:
        names = ", ".join(empty["first"]) + ", ..." * (empty["count"] > len(empty["first"]))
        table.add_row("no rows", f"in {empty['count']:,} input files: {names}")
    for reason in manifest["skipped_files"]:
        table.add_row(Text("skipped", style="yellow"), reason)
    if manifest["status"] != "done":
        limit = spec.limits.max_dead_letter_fraction
        table.add_row(
            Text("too many", style="red"),
            f"dead letters: their share is above limits.max_dead_letter_fraction ({limit:.0%}); "
            f"the reasons are in {spec.output.path.rstrip('/')}/{DEAD_LETTERS}/",
        )
    return table


def _engines(bill: Mapping[str, Any]) -> str:
    """Return what the engines have used in all sessions, and how much of it was for nothing."""
    hours = [
        f"{held['engine_seconds'] / 3600:.2f} h on {name}" for name, held in bill["devices"].items()
    ]
    wasted = sum(waste["seconds"] for waste in bill["waste"].values())
    share = wasted / bill["engine_seconds"] if bill["engine_seconds"] else 0.0
    restarts = bill["engine_restarts"]
    return f"{', '.join(hours) or 'none'}; {share:.0%} idle or for nothing" + (
        f"; {restarts:,} restarted" if restarts else ""
    )


def _checks(manifest: Mapping[str, Any]) -> str:
    """Return for each check of the job in how many answers it found something, and its action."""
    done = {"flag": "flagged", "null": "taken out", "dead_letter": "made dead letters"}
    return ", ".join(
        f"{name}: {found['answers']:,} answers {done[found['action']]}"
        for name, found in manifest.get("checks", {}).items()
    )


def _table(manifest: Mapping[str, Any]) -> str:
    made = manifest.get("table")
    return f" (also a Delta table, version {made['version']})" if made else ""


def _steps(manifest: Mapping[str, Any]) -> str:
    steps = manifest["steps_per_output_token"]
    return "" if steps is None else f" in {steps:.2f} steps each"
