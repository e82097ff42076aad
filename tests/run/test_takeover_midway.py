"""Tests of a run that hangs while it writes its index, or while it deletes temporary files at its
end, and is fenced by a newer run there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from chaos.checker import check
from chaos.proxy import HoldingProxy
from fakes_storage import S3Server
from quick import QuickRun, ended
from runs import LIMIT_SECONDS, phifleet

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_model")]

MOMENTS: dict[str, Callable[[str, str], bool]] = {
    "index": lambda method, path: method == "PUT" and "/_run/index/" in path,
    "sweep": lambda method, path: method == "POST" and path.partition("?")[2].startswith("delete"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_newer_run_finishes_and_the_older_one_names_it(
    moment: str, tmp_path: Path, s3: S3Server
) -> None:
    output = f"{s3.new_bucket()}/out"
    run = QuickRun(tmp_path, output, documents=100)
    with HoldingProxy(s3.endpoint, MOMENTS[moment]) as proxy:
        older = run.start(AWS_ENDPOINT_URL=proxy.endpoint)
        assert proxy.held.wait(LIMIT_SECONDS)
        code, result, errors = ended(run.start())
        assert (code, result["status"]) == (0, "done"), errors
        proxy.let_go.set()
        code, result, errors = ended(older)
    assert (code, result["status"]) == (3, "failed")
    assert "took over as generation 2" in errors
    assert phifleet("verify", output).returncode == 0
    filesystem, root = fsspec.core.url_to_fs(output)
    assert check(filesystem, root, run.editions, run.diary).sound
