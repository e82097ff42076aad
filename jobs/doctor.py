"""`phifleet doctor`: what of packages, engine, GPUs, Ray, storage and model can be used here."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from jobs.targets import is_job_file
from pipelines.doctor.checks import Check, Status, all_usable
from pipelines.doctor.machine import check_gpus, check_ray_disk, check_shared_memory, list_gpus
from pipelines.doctor.model import check_model
from pipelines.doctor.packages import (
    check_packages,
    check_phifleet,
    engine_build,
    installed_version,
    installed_versions,
)
from pipelines.doctor.places import check_input, check_output
from pipelines.doctor.probes import ENGINE_PROBE, RAY_PROBE, Probe, check_engine, check_ray
from pipelines.job.spec import JobSpec, load_job

EXIT_USABLE, EXIT_UNUSABLE = 0, 2
"""The exit codes: nothing failed (there may be warnings), or something failed."""
_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "red"}


def examine(target: str | None, overrides: Sequence[str] = ()) -> list[Check]:
    """Return the results of all checks, in the order in which they are shown.

    `target` is the path of a job file, the directory or URL of an OUTPUT, or None to check neither.
    Raises SpecError if the job file is wrong.
    """
    # a store that does not answer is reported, not waited for
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")
    spec = load_job(target, overrides).spec if target and is_job_file(target) else None
    address = os.environ.get("RAY_ADDRESS")
    build = engine_build()
    with Probe(ENGINE_PROBE) as engine, Probe(RAY_PROBE) as ray:
        places = _check_places(target, spec)
        model = check_model(spec.model.name, spec.model.revision) if spec else check_model()
        gpus = check_gpus(list_gpus(), build, _needed_gpus(spec), elsewhere=bool(address))
        return [
            check_phifleet(),
            check_packages(build, installed_versions()),
            check_engine(engine.result(), build),
            gpus,
            check_ray(ray.result(), installed_version("ray"), address),
            check_shared_memory(),
            check_ray_disk(),
            model,
            *places,
        ]


def _check_places(target: str | None, spec: JobSpec | None) -> list[Check]:
    if spec is not None:
        return [check_output(spec.output.path), check_input(spec.input, spec.output.path)]
    return [check_output(target)] if target else []


def _needed_gpus(spec: JobSpec | None) -> float:
    """Return the GPUs that one engine of a job takes; 0 if it may run on CPUs."""
    if spec is None or spec.compute.gpus_per_replica == "auto":
        return 0
    return float(spec.compute.gpus_per_replica)


def exit_code(checks: Sequence[Check]) -> int:
    """Return the command's exit code."""
    return EXIT_USABLE if all_usable(checks) else EXIT_UNUSABLE


def checks_json(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the command's JSON result."""
    return {"usable": all_usable(checks), "checks": [check.to_json() for check in checks]}


def checks_table(checks: Sequence[Check]) -> Group:
    """Return the results as a table for the terminal, and a line that sums them up."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    # fold long paths on a narrow terminal instead of cutting them
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), check.detail)
        if check.remedy:
            table.add_row("", "", Text(f"-> {check.remedy}", style="bold"))
    return Group(table, Text(), Text(_summary(checks)))


def _summary(checks: Sequence[Check]) -> str:
    unusable = [check.name for check in checks if check.status is Status.FAILED]
    if unusable:
        return f"not usable: {', '.join(unusable)}"
    warnings = sum(check.status is Status.WARNING for check in checks)
    return "everything is usable" + (f"; warnings: {warnings}" if warnings else "")


def print_examination(target: str | None, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print the result of `examine` to standard output, and return the command's exit code."""
    checks = examine(target, overrides)
    if as_json:
        print(json.dumps(checks_json(checks)))
    else:
        Console(markup=False, emoji=False, highlight=False).print(checks_table(checks))
    return exit_code(checks)
