"""Tests that the remaining units of a large run on S3 are found with few requests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import fsspec
import pytest
from chaos.proxy import FaultyProxy
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from pipelines.corpus.files import SourceFile
from pipelines.corpus.units import Unit
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import COMMITS
from pipelines.ledger.records import Plan
from pipelines.storage import Storage

UNITS, REMAINING = 100_000, 7
# Keys in one response of S3 to a list request.
KEYS_PER_REQUEST = 1000
BUCKET = "many"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Start an S3 server in this process, so that the test can add objects without requests, behind
    a proxy that counts requests."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with FaultyProxy(f"http://{host}:{port}", share=0.0, seed=0) as proxy:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "not-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": proxy.endpoint,
        }.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield proxy
    server.stop()


@pytest.mark.slow
def test_the_remaining_units_of_a_hundred_thousand_are_found_with_few_requests(
    counted: FaultyProxy,
) -> None:
    ledger = Ledger(Storage(f"s3://{BUCKET}/out"))
    units = tuple(
        Unit(number, "short", "text", number, 9, 900, 400, 30.0, f"{number:032x}")
        for number in range(UNITS)
    )
    ledger.add_plan(0, Plan((SourceFile("a.parquet", 9, "v1"),), units, (), {}))
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(UNITS - REMAINING):
        store.put_object(BUCKET, f"out/{COMMITS}/{number:06d}.json", b"{}")
    counted.requests.clear()
    began = time.monotonic()
    (plan,) = ledger.plans()
    committed = ledger.committed()
    remaining = [unit for unit in plan.units if unit.number not in committed]
    print(f"{UNITS} units: {time.monotonic() - began:.1f} s, {counted.requests}")
    assert len(remaining) == REMAINING
    # one for each thousand commits, and some for the plan
    assert counted.requests.total() <= UNITS // KEYS_PER_REQUEST + 10
