"""Marks for tests that need programs or files besides the Python packages, and skip without them.

`.ci/install` installs the programs. On CI such a skip fails the run (see skips.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

PHI3 = Path(__file__).parents[2] / "shared/phi3"
CASES = Path(__file__).parents[2] / "shared/cases"
CRDS = Path(__file__).parents[2] / "shared/k8s-crds"
# names of the same program on different systems; `.ci/install` installs the first
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def first_installed(*programs: str) -> str | None:
    """Return the path of the first of `programs` that is on PATH."""
    return next(filter(None, map(shutil.which, programs)), None)


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test if none of the programs `names` is on PATH."""
    return pytest.mark.skipif(
        first_installed(*names) is None,
        reason=f"{' or '.join(names)} is not installed: run .ci/install",
    )


needs_browser = needs_program(*BROWSERS)
needs_kubectl = needs_program("kubectl")
needs_promtool = needs_program("promtool")
needs_crds = pytest.mark.skipif(
    not CRDS.is_dir(),
    reason="KubeRay's custom resource definitions are not in ../shared/k8s-crds beside the project",
)
needs_phi3 = pytest.mark.skipif(
    not PHI3.is_dir(),
    reason="Phi-3's tokenizer and configs are not in ../shared/phi3 beside the project",
)
needs_cases = pytest.mark.skipif(
    not CASES.is_dir(),
    reason="the cases are not in ../shared/cases beside the project",
)
