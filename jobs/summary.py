"""Prints a run's notices, its summary, its JSON result and its JSON log; the live view is in
`live.py`.

Knows the screen and the manifest; nothing of Ray, signals or storage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.control import Stopped
from jobs.figures import format_duration
from jobs.json_log import JsonLog, Level, LogFormat
from jobs.live import View
from pipelines.corpus.files import SourceFile
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.undivided import describe_undivided
from pipelines.errors import PhifleetError
from pipelines.job.spec import JobSpec
from pipelines.ledger.names import ANSWERS, DEAD_LETTERS
from pipelines.models.resolve import Model
from pipelines.run.screen import Screen

_STYLES = {"warning": "yellow"}


@dataclass(frozen=True, slots=True)
class RunPrinter:
    """Prints what a run reports besides its live view, as text for people to standard error.

    With `as_json`, it also prints the result as one JSON object to standard output, and no summary.
    With `log_format` "json", each notice is a JSON object on a line of its own, with the text as
    `message`; the progress and the end of the run are such lines too.
    """

    screen: Screen
    spec: JobSpec
    as_json: bool
    log_format: LogFormat = "text"

    @property
    def log_progress(self) -> Callable[[View], None] | None:
        """A function that writes a view's numbers to the JSON log; None if text is wanted."""
        if self.log_format == "text":
            return None
        log = self._log
        return lambda view: log.write("progress", **view.values())

    def print_start(self, log: Path) -> None:
        """Print the run's name and the path of its log file, relative to the working directory if
        the file is below it."""
        shown = log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log
        text = f"phifleet run {self.spec.name}; the log is {shown}"
        self._notice("start", text, one_line=True, run=self.spec.name, log=str(log))

    def print_model(self, model: Model) -> None:
        """Print a warning if the model has random weights; print nothing for any other model."""
        if model.random_weights:
            self._notice(
                "random_weights",
                f"model {model.name!r} has random weights: its answers mean nothing. Set "
                "model.name to another model for real answers",
                level="warning",
                model=model.name,
            )

    def print_undivided(self, files: Sequence[SourceFile]) -> None:
        """Print the large files that only one CPU can index; print nothing if there are none."""
        if notice := describe_undivided(files):
            self._notice("undivided_files", notice, level="warning")

    def print_not_read(self, not_read: NotRead) -> None:
        """Print how many files below the input are not read, and why; print nothing if there are
        none."""
        if not_read.count:
            text = f"{self.spec.input.path}: {not_read.describe()}"
            self._notice("files_not_read", text, level="warning", files=not_read.to_json())

    def print_node_metrics(self, address: str) -> None:
        """Print `address`, the URL of the Prometheus endpoint of a node of the cluster."""
        text = f"metrics of workers and engines: {address}"
        self._notice("node_metrics", text, one_line=True, url=address)

    def print_run_metrics(self, port: int) -> None:
        """Print the URL of the Prometheus endpoint of this run's totals, on `port` of this
        machine."""
        url = f"http://127.0.0.1:{port}/metrics"
        self._notice("run_metrics", f"metrics of the run: {url}", url=url)

    def print_stopped(self, stopped: Stopped) -> None:
        """Print which signal stops the run, and how to resume it; called before the clean-up."""
        self._notice(
            "stopped",
            f"stopped by {stopped}. Committed work is kept; run the same command to resume",
            level="warning",
            signal=str(stopped),
        )

    def print_log_not_stored(self, log: Path, error: PhifleetError) -> None:
        """Print that `error` kept the log from being copied to OUTPUT, and that it remains at
        `log`."""
        self._notice(
            "log_not_stored",
            f"the log was not copied to OUTPUT; read it at {log}. The cause: {error}",
            level="warning",
            one_line=True,
            log=str(log),
        )

    def print_failure(self, message: str) -> None:
        """End the live views and print an error; with `as_json`, also as the JSON result. Call it
        before the process is ended inside its `with` blocks."""
        self.screen.end_views()
        self._result({"status": "failed", "error": message})
        self._notice("failed", f"phifleet: {message}", level="error", one_line=True, error=message)

    def print_stopped_result(self) -> None:
        """Print the JSON result of a run that a signal stopped."""
        self._result({"run": self.spec.name, "status": "stopped"})

    def print_retried(self, retried: Mapping[str, int], remaining: Mapping[str, int]) -> None:
        """Print how many dead letters were asked again, by reason, and how many there are now."""
        asked = ", ".join(f"{n} {why}" for why, n in retried.items()) or "none"
        left = ", ".join(f"{n} {why}" for why, n in remaining.items()) or "none"
        text = f"dead letters asked again: {asked}; dead letters now: {left}"
        self._notice("retried", text, retried=dict(retried), remaining=dict(remaining))

    def print_finished(self, manifest: Mapping[str, Any]) -> None:
        """Print the summary of a finished run, or with `as_json` its manifest without the key
        `files`. A JSON log gets that too."""
        result = {key: value for key, value in manifest.items() if key != "files"}
        self._result(result)
        if self.log_format == "json":
            self._log.write("finished", **result)
        elif not self.as_json:
            self._print_summary(summary_table(manifest, self.spec))

    def print_report(self, path: str) -> None:
        """Print the path or URL of the run's report."""
        self._notice("report", f"the report is {path}", one_line=True, path=path)

    def print_no_report(self, reason: str, output: str) -> None:
        """Print why the report of a finished run in `output` was not written, and what to do."""
        text = f"the report was not written: {reason}. The run is done"
        remedy = f"phifleet report {output} writes it"
        self._notice(
            "no_report", f"{text}; {remedy}", level="warning", one_line=True, reason=reason
        )

    def _print_summary(self, table: Table) -> None:
        console = self.screen.console
        if console.is_terminal:
            console.print(table)
            return
        # lines in a pipe or a log are not folded
        labels, texts = (list(map(str, column.cells)) for column in table.columns)
        width = max(map(len, labels)) + 2
        for label, text in zip(labels, texts, strict=True):
            console.print(f"{label:<{width}}{text}", soft_wrap=True)

    @property
    def _log(self) -> JsonLog:
        return JsonLog(self.screen.console.file)

    def _notice(
        self,
        event: str,
        text: str,
        *,
        level: Level = "info",
        one_line: bool = False,
        **values: Any,
    ) -> None:
        """Print a notice as text, or write it with its values to the JSON log."""
        if self.log_format == "json":
            self._log.write(event, level, message=text, **values)
            return
        console = self.screen.console
        # a path or URL that is broken over two lines cannot be copied
        soft_wrap = one_line or not console.is_terminal
        console.print(text, style=_STYLES.get(level), soft_wrap=soft_wrap)

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
