"""A pytest plugin with the settings of all property tests (hypothesis).

Hypothesis fails an example that takes longer than 200 ms, its default deadline. On a busy machine
any example may, so property tests have no deadline.
"""

from __future__ import annotations

import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("phifleet", settings.default, deadline=None)
    settings.load_profile("phifleet")
