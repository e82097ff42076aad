"""Records of workers' processes: written, read, merged, and right after a process was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_storage import S3Server

from pipelines.documents import Usage
from pipelines.errors import OutputError
from pipelines.ledger.names import WORKERS, worker_name
from pipelines.ledger.used import IDLE, Used, Waste
from pipelines.ledger.worker_records import (
    ENDED,
    UnitInHand,
    WorkerRecord,
    merge_worker_records,
    pack_meter,
    read_worker_records,
    write_worker_record,
)
from pipelines.run.recorder import Recorder
from pipelines.run.worker_account import WorkerAccount
from pipelines.storage import Storage

RECORD = WorkerRecord(
    "ab12", "worker", 3, "short", "host", 4,
    Used("ab12", "CPU", 0.0, 2.0, 30.0, 8.0, 1, 0, 0, 0, {IDLE: Waste(3.0)}),
    Usage(100, 20, 9, 8, 3), (UnitInHand(7, 20, 5, 12.5, 2),),
)  # fmt: skip


def test_a_record_can_be_read_again(storage: Storage) -> None:
    write_worker_record(storage, RECORD)
    assert read_worker_records(storage) == [RECORD]


def test_records_of_older_and_newer_versions_are_read() -> None:
    values = RECORD.to_json()
    del values["kv_cache_tokens"], values["in_hand"][0]["oldest_seconds"]
    values["of_later"] = values["in_hand"][0]["of_later"] = 1
    assert WorkerRecord.from_json(values) == RECORD


def test_a_meter_that_is_ahead_of_the_record_has_the_tokens_and_the_time(storage: Storage) -> None:
    write_worker_record(storage, RECORD)
    name = worker_name(3, "ab12", "meter")
    storage.write(name, pack_meter(Usage(150, 30, 12, 11, 3), 41.0))
    (record,) = read_worker_records(storage)
    assert (record.tokens, record.used.engine_seconds) == (Usage(150, 30, 12, 11, 3), 41.0)
    storage.write(name, pack_meter(Usage(90, 10, 8, 7, 3), 20.0))
    assert read_worker_records(storage) == [RECORD]
    storage.write(name, b"")
    assert read_worker_records(storage) == [RECORD]


def test_merged_records_are_read_once_and_are_final(storage: Storage) -> None:
    other = replace(RECORD, life="cd34", generation=2)
    for record in (RECORD, other):
        write_worker_record(storage, record)
    storage.write(worker_name(3, "ab12", "meter"), pack_meter(Usage(150), 41.0))
    merged = read_worker_records(storage)
    merge_worker_records(storage, merged, 3)
    assert storage.names(WORKERS) == []
    assert read_worker_records(storage) == merged
    write_worker_record(storage, other)
    merge_worker_records(storage, merged, 4)
    assert storage.names(f"{WORKERS}/merged") == ["000004.json"]
    write_worker_record(storage, replace(RECORD, sequence=5, tokens=Usage(900)))
    storage.write(worker_name(3, "ab12", "meter"), pack_meter(Usage(900), 90.0))
    assert read_worker_records(storage) == merged


def test_a_merge_that_was_interrupted_counts_no_process_twice(storage: Storage) -> None:
    write_worker_record(storage, RECORD)
    merge_worker_records(storage, [RECORD], 3)
    write_worker_record(storage, RECORD)
    assert read_worker_records(storage) == [RECORD]


def test_records_of_a_newer_driver_are_not_merged(storage: Storage) -> None:
    newer = replace(RECORD, life="ef56", generation=4)
    for record in (RECORD, newer):
        write_worker_record(storage, record)
    merge_worker_records(storage, [RECORD], 3)
    assert storage.names(WORKERS) == ["000004-ef56.json"]
    assert read_worker_records(storage) == [RECORD, newer]


def test_a_damaged_record_is_named(storage: Storage) -> None:
    storage.write(worker_name(3, "ab12"), b"{")
    with pytest.raises(OutputError, match=r"000003-ab12\.json: the record is damaged"):
        read_worker_records(storage)


def test_a_recorder_writes_the_first_and_the_last_version(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    account = WorkerAccount()
    recorder = Recorder(storage, replace(RECORD, sequence=0), account)
    recorder.start()
    (first,) = read_worker_records(storage)
    assert (first.sequence, first.ended, first.tokens) == (0, "", Usage())
    account.started()
    account.begin(7)
    account.attempt(7, 20, 1)
    account.count_tokens(Usage(50, 0, 3))
    recorder.end(ENDED)
    recorder.end("again")
    (last,) = read_worker_records(storage)
    assert (last.sequence, last.ended, last.tokens) == (1, ENDED, Usage(50, 0, 3))
    assert [unit.unit for unit in last.in_hand] == [7]
    assert last.used.starts == 1


PROGRAM = """
import os, signal, sys
from pipelines.documents import Usage
from pipelines.ledger.worker_records import WorkerRecord
from pipelines.run.recorder import Recorder
from pipelines.run.worker_account import WorkerAccount
from pipelines.storage import Storage

account = WorkerAccount()
identity = WorkerRecord("ab12", "worker", 3, "short", "host")
R = Recorder(Storage(sys.argv[1]), identity, account)
R.start()
for number in range(1000):
    account.count_tokens(Usage(number, 1, 2))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_tokens_of_a_killed_process_are_right_to_the_token(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    (record,) = read_worker_records(Storage(str(tmp_path)))
    assert record.tokens == Usage(999 * 500, 1000, 2000)
    assert record.used.engine_seconds > 0


def test_with_a_bucket_the_next_worker_on_a_node_stores_the_tokens_of_a_killed_one(
    s3: S3Server, tmp_path: Path
) -> None:
    url = f"{s3.new_bucket()}/out"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", PROGRAM, url], env=environment)
    assert killed.returncode == -signal.SIGKILL
    storage = Storage(url)
    assert [record.tokens for record in read_worker_records(storage)] == [Usage()]
    ends = PROGRAM.replace("ab12", "cd34").replace(
        "os.kill(os.getpid(), signal.SIGKILL)", "R.end('x')"
    )
    subprocess.run([sys.executable, "-c", ends, url], env=environment, check=True)
    records = {record.life: record for record in read_worker_records(storage)}
    assert records["ab12"].tokens == records["cd34"].tokens == Usage(999 * 500, 1000, 2000)
    assert (records["cd34"].ended, list(tmp_path.rglob("*.meter"))) == ("x", [])
