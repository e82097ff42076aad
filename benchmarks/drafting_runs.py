"""Compares whole programs with `model.drafting: off` and `auto`, in turns, with `tiny`.

`--only endpoint` sends documents with four asks and a form one by one to `phifleet serve`; `--only
batch` runs `phifleet run` on the demo's corpus. Prints a table of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import httpx
import yaml
from draft_workloads import ALONE
from online import await_start, read_key
from rich.console import Console
from rich.table import Table

from jobs.demo import demo_job
from pipelines.run.ports import free_port

SETTINGS = ("off", "auto")
_WARM_UP, _DOCUMENTS = 10, 40
_ENVIRONMENT = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def endpoint(drafting: str, round_number: int) -> dict[str, float]:
    """Start an endpoint; return the seconds for one document, as a median of several."""
    port = free_port()
    spec = {"model": {"name": "tiny", "drafting": drafting}, "http": {"port": port}}
    with tempfile.TemporaryDirectory() as directory, Path(directory, "log").open("w+") as log:
        serve_file = Path(directory, "serve.yaml")
        serve_file.write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "jobs.cli", "serve", str(serve_file)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_ENVIRONMENT)
        url = f"http://127.0.0.1:{port}"
        try:
            await_start(url, process, log)
            key = read_key(Path(directory, "log"))
            headers = {"authorization": f"Bearer {key}"}
            with httpx.Client(base_url=url, headers=headers, timeout=300) as client:
                seconds = list(_answer(client, f"round {round_number}"))
        finally:
            process.terminate()
            process.wait(120)
    return {"seconds": median(seconds[_WARM_UP:])}


def _answer(client: httpx.Client, salt: str) -> Iterator[float]:
    """Yield the seconds of each document."""
    tasks = [task.model_dump(mode="json", exclude_none=True) for task in ALONE.tasks]
    for text in islice(ALONE.texts(salt), _WARM_UP + _DOCUMENTS):
        started = time.monotonic()
        response = client.post("/v1/documents", json={"text": text, "tasks": tasks})
        response.raise_for_status()
        yield time.monotonic() - started


def batch(drafting: str, _: int) -> dict[str, float]:
    """Run the demo's job; return its times, and steps for each token."""
    with tempfile.TemporaryDirectory() as directory:
        job = demo_job(Path(directory))
        job_file = Path(directory, "job.yaml")
        job_file.write_text(yaml.safe_dump(job.source))
        command = [sys.executable, "-m", "jobs.cli", "run", str(job_file), "--json"]
        done = subprocess.run(
            [*command, "--set", f"model.drafting={drafting}"],
            env=_ENVIRONMENT, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"the run failed: {done.stderr.decode()[-4000:]}")
        result = json.loads(done.stdout)
        shutil.rmtree(Path(directory, "output"), ignore_errors=True)
    print(result, file=sys.stderr, flush=True)
    return {
        "seconds": result["steady_seconds"],
        "documents_per_hour": 3600 * result["documents"] / result["steady_seconds"],
        "whole_run_seconds": result["wall_seconds"],
        "steps_per_output_token": result["steps_per_output_token"],
    }


PROGRAMS: dict[str, Callable[[str, int], dict[str, float]]] = {
    "endpoint": endpoint,
    "batch": batch,
}


def main() -> None:
    """Run the programs in turns, and print the medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    options = parser.parse_args()
    table = Table(title="drafting off and auto, medians")
    for name in ("program", "number", *SETTINGS, "ratio"):
        table.add_column(name)
    for program in options.only:
        runs: dict[str, list[dict[str, float]]] = {setting: [] for setting in SETTINGS}
        for number in range(options.rounds):
            for setting in SETTINGS if number % 2 == 0 else SETTINGS[::-1]:
                runs[setting].append(PROGRAMS[program](setting, number))
                print(program, setting, runs[setting][-1], file=sys.stderr, flush=True)
        for name in runs["off"][0]:
            off, auto = (median(run[name] for run in runs[setting]) for setting in SETTINGS)
            table.add_row(program, name, f"{off:.4g}", f"{auto:.4g}", f"{auto / off:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
