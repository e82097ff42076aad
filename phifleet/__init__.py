"""phifleet in Python: `run`, `status`, `verify`, `report`, and OUTPUT as datasets and rows.

    import phifleet

    result = phifleet.run("job.yaml")
    phifleet.answers(result.output).to_table()

A job is given as the path of a job file, as a dict with a job file's keys, or as the result of
`load`; docs/python.md describes the functions. The modules of this package may import `jobs` and
`pipelines`, which do the work, and nothing imports this package. Its import loads neither Ray nor
vLLM.
"""

from phifleet.inspecting import report, status, verify
from phifleet.job import load
from phifleet.reading import Answers, answers
from phifleet.results import ReportResult, RunResult, StatusResult
from phifleet.rows import Answer, Evidence, Row, rows
from phifleet.running import run
from pipelines.errors import (
    ClusterError,
    EngineError,
    Fenced,
    Incomplete,
    InputError,
    ModelError,
    OutputError,
    PhifleetError,
    SpecError,
    StorageError,
)
from pipelines.job.spec import Job
from pipelines.ledger.verify import VerifyReport

__all__ = [
    "Answer",
    "Answers",
    "ClusterError",
    "EngineError",
    "Evidence",
    "Fenced",
    "Incomplete",
    "InputError",
    "Job",
    "ModelError",
    "OutputError",
    "PhifleetError",
    "ReportResult",
    "Row",
    "RunResult",
    "SpecError",
    "StatusResult",
    "StorageError",
    "VerifyReport",
    "answers",
    "load",
    "report",
    "rows",
    "run",
    "status",
    "verify",
]
